/* A QR code as text: two modules a character, by the UTF-8 half blocks. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

enum {
        QR_TOO_LONG = 1, /* no QR code holds the text */
        QR_TOO_WIDE = 2,
};

/* Prints the code of text with the quiet zone that ISO/IEC 18004 asks for. colours: black on white
 * by ANSI sequences, whatever the terminal's own are; else white is drawn, as on a dark background.
 * max_columns 0: any width. 0, QR_TOO_LONG, QR_TOO_WIDE, -ENOMEM. */
int qr_print(FILE *f, const char *text, bool colours, unsigned max_columns);
