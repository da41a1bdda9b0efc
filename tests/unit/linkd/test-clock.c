#include <errno.h>

#include "linkd/clock.h"
#include "linkd/log.h"
#include "tests/unit/unit.h"

LogLevel log_max_level = LOG_LEVEL_ERROR;

static void test_http_date(void **state)
{
        static const char *const bad[] = {
                "",
                "Sun, 06 Nov 1994 08:49:37",
                "Sun, 06 Nov 1994 08:49:37 GMT+1",
                "Sunday, 06-Nov-94 08:49:37 GMT",
                "Sun Nov  6 08:49:37 1994",
                "Sun, 06 Nov 1969 08:49:37 GMT",
                "784111777",
        };
        int64_t t = 1;

        (void)state;
        assert_int_equal(clock_parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT", &t), 0);
        assert_int_equal(t, 784111777000);
        assert_int_equal(clock_parse_http_date("Tue, 29 Feb 2000 00:00:00 GMT", &t), 0);
        assert_int_equal(t, 951782400000);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                t = 7;
                assert_int_equal(clock_parse_http_date(bad[i], &t), -EINVAL);
                assert_int_equal(t, 7);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_http_date)};

        return unit_run(tests);
}
