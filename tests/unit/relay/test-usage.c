#include "relay/usage.h"
#include "tests/unit/unit.h"

static void formats(void **state)
{
        static const struct {
                double used;
                const char *text;
        } cases[] = {
                {0, "0"},           {1, "1"},           {0.5, "0.5"},
                {0.25, "0.25"},     {0.1235, "0.1235"}, {0.12349, "0.1235"},
                {0.0001, "0.0001"}, {0.00001, "0"},     {0.9999, "0.9999"},
                {0.99999, "1"},     {0.95, "0.95"},     {0.1, "0.1"},
                {0.101, "0.101"},   {0.8, "0.8"},
        };
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char text[16];

                usage_format(cases[i].used, text);
                assert_string_equal(text, cases[i].text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(formats)};

        return unit_run(tests);
}
