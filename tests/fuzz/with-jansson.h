/* Jansson beside liblinkproto/json.h, which has functions of the names of six of jansson's macros.
 */
#pragma once

#include <jansson.h>

#undef json_is_null
#undef json_is_string
#undef json_is_object
#undef json_is_array
#undef json_is_number
#undef json_is_true
