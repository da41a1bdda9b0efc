/* What is printed, read back module by module, is the code that libqrencode makes of the text. */
#include <qrencode.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/qr.h"
#include "liblinkproto/util.h"

enum { QUIET = 4, SIDE_MAX = 200 };

static const char link_text[] = "link:dgzuWI5xGJ1WYBo9mLEvPvdlX9nkNBWvNXg0JAjqcWQ?code=7H3KQX&id="
                                "AAECAwQFBgc&relay=wss://r.example";

/* Dark modules of a printed code; *side: characters of a line. */
static void read_back(const char *text, bool dark[SIDE_MAX][SIDE_MAX], size_t *side)
{
        static const struct {
                const char *block;
                bool upper, lower; /* dark */
        } blocks[] = {
                {"█", false, false}, {"▀", false, true}, {"▄", true, false}, {" ", true, true}};
        size_t x = 0, y = 0;

        *side = 0;
        while (*text) {
                if (*text == '\n') {
                        assert_true(*side == 0 || *side == x); /* all lines are as long */
                        *side = x;
                        x = 0;
                        y += 2;
                        text++;
                        continue;
                }
                size_t i = 0;
                while (i < ELEMENTSOF(blocks) &&
                       strncmp(text, blocks[i].block, strlen(blocks[i].block)) != 0)
                        i++;
                assert_true(i < ELEMENTSOF(blocks));
                assert_true(x < SIDE_MAX && y + 1 < SIDE_MAX);
                dark[y][x] = blocks[i].upper;
                dark[y + 1][x] = blocks[i].lower;
                x++;
                text += strlen(blocks[i].block);
        }
        assert_true(y == *side || y == *side + 1);
}

static char *print(const char *text, bool colours, unsigned max_columns, int expected)
{
        char *out = NULL;
        size_t n;
        FILE *f = open_memstream(&out, &n);

        assert_non_null(f);
        assert_int_equal(qr_print(f, text, colours, max_columns), expected);
        assert_int_equal(fclose(f), 0);
        return out;
}

static void test_is_the_code(void **state)
{
        static bool dark[SIDE_MAX][SIDE_MAX];
        char *out = print(link_text, false, 0, 0);
        QRcode *code = QRcode_encodeString8bit(link_text, 0, QR_ECLEVEL_L);
        size_t side;

        (void)state;
        assert_non_null(code);
        read_back(out, dark, &side);
        assert_int_equal(side, (size_t)code->width + 2 * QUIET);
        for (size_t y = 0; y < side; y++)
                for (size_t x = 0; x < side; x++) {
                        bool quiet =
                                x < QUIET || y < QUIET || x >= side - QUIET || y >= side - QUIET;
                        size_t at = quiet ? 0 : (y - QUIET) * (size_t)code->width + x - QUIET;
                        assert_int_equal(dark[y][x], quiet ? 0 : code->data[at] & 1);
                }
        QRcode_free(code);
        free(out);
}

/* The three corners, as any reader looks for them: independent of what libqrencode says. */
static void test_has_finders(void **state)
{
        static const char *const finder[7] = {"#######", "#.....#", "#.###.#", "#.###.#",
                                              "#.###.#", "#.....#", "#######"};
        static bool dark[SIDE_MAX][SIDE_MAX];
        char *out = print(link_text, false, 0, 0);
        size_t side;

        (void)state;
        read_back(out, dark, &side);
        free(out);
        for (int corner = 0; corner < 3; corner++) {
                size_t left = corner == 1 ? side - QUIET - 7 : QUIET;
                size_t top = corner == 2 ? side - QUIET - 7 : QUIET;
                for (size_t y = 0; y < 7; y++)
                        for (size_t x = 0; x < 7; x++)
                                assert_int_equal(dark[top + y][left + x], finder[y][x] == '#');
        }
}

/* With colours the same blocks stand between the sequences, on each line. */
static void test_colours(void **state)
{
        char *plain = print(link_text, false, 0, 0), *coloured = print(link_text, true, 0, 0);
        char *from = coloured, *to = coloured;

        (void)state;
        assert_memory_equal(coloured, "\033[97;40m", strlen("\033[97;40m"));
        while (*from) {
                if (*from == '\033') {
                        from += strcspn(from, "m") + 1;
                        continue;
                }
                *to++ = *from++;
        }
        *to = '\0';
        assert_string_equal(coloured, plain);
        free(plain);
        free(coloured);
}

static void test_bounds(void **state)
{
        char *text, *out = print("a", false, 0, 0);
        unsigned side = 21 + 2 * QUIET; /* version 1 */

        (void)state;
        free(out);
        free(print("a", false, side, 0));
        out = print("a", false, side - 1, QR_TOO_WIDE);
        assert_string_equal(out, "");
        free(out);
        text = calloc(1, 2955);
        assert_non_null(text);
        memset(text, 'x', 2953); /* what version 40-L holds */
        free(print(text, false, 0, 0));
        text[2953] = 'x';
        out = print(text, false, 0, QR_TOO_LONG);
        assert_string_equal(out, "");
        free(out);
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_is_the_code),
                cmocka_unit_test(test_has_finders),
                cmocka_unit_test(test_colours),
                cmocka_unit_test(test_bounds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
