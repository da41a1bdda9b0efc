#include "qr.h"

#include <errno.h>
#include <qrencode.h>

#include "liblinkproto/util.h"

enum { QUIET_MODULES = 4 };

static void qr_freep(QRcode **code)
{
        QRcode_free(*code);
}

static bool is_dark(const QRcode *code, int x, int y)
{
        x -= QUIET_MODULES;
        y -= QUIET_MODULES;
        return x >= 0 && y >= 0 && x < code->width && y < code->width &&
               (code->data[y * code->width + x] & 1);
}

/* Rows y and y + 1. Light modules are drawn. */
static void print_line(FILE *f, const QRcode *code, int y, bool colours)
{
        static const char *const blocks[2][2] = {{"█", "▀"},
                                                 {"▄", " "}}; /* [upper dark][lower dark] */
        int side = code->width + 2 * QUIET_MODULES;

        if (colours)
                fputs("\033[97;40m", f);
        for (int x = 0; x < side; x++)
                fputs(blocks[is_dark(code, x, y)][y + 1 == side || is_dark(code, x, y + 1)], f);
        fputs(colours ? "\033[0m\n" : "\n", f);
}

int qr_print(FILE *f, const char *text, bool colours, unsigned max_columns)
{
        _cleanup_(qr_freep) QRcode *code =
                QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L); /* the smallest that holds it */

        if (!code)
                return errno == ERANGE ? QR_TOO_LONG : -ENOMEM;
        int side = code->width + 2 * QUIET_MODULES;
        if (max_columns > 0 && (unsigned)side > max_columns)
                return QR_TOO_WIDE;
        for (int y = 0; y < side; y += 2)
                print_line(f, code, y, colours);
        return 0;
}
