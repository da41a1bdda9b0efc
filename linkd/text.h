/* Text of others that people and applications are shown. */
#pragma once

#include "liblinkproto/util.h"

/* All but printable ASCII becomes '?': what a proxy or a server says need be no UTF-8. */
static inline void text_make_printable(char *text)
{
        for (; *text; text++)
                if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
                        *text = '?';
}
