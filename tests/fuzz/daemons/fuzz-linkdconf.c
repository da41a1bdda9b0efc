/* linkd.conf: taken, or refused with its fault named; twice the same. */
#include <sodium.h>

#include "linkd/settings.h"
#include "tests/fuzz/fuzz.h"
#include "workdir.h"

/* What is refused has its fault told, with the file. */
static int load(Settings *s)
{
        const char *path = workdir_path("linkd.conf");
        char *fault = NULL;
        int r;

        CHECK(settings_init(s, &fault) == 0);
        r = settings_read(s, path, &fault);
        CHECK(r <= 0 && (r < 0) == (fault != NULL));
        CHECK(!fault || strstr(fault, path));
        free(fault);
        return r;
}

static bool same(const char *a, const char *b)
{
        return a && b ? strcmp(a, b) == 0 : a == b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                                "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
        Settings s, again;
        int r;

        CHECK(sodium_init() >= 0);
        for (size_t i = 0; i < ELEMENTSOF(variables); i++)
                CHECK(unsetenv(variables[i]) == 0);
        workdir_write("linkd.conf", data, size);
        r = load(&s);
        CHECK(load(&again) == r);
        if (r == 0) {
                CHECK(!s.state_dir || s.state_dir[0] == '/');
                CHECK(!s.socket || s.socket[0] == '/');
                CHECK(s.log_level <= LOG_LEVEL_DEBUG);
                CHECK(same(s.state_dir, again.state_dir) && same(s.socket, again.socket));
                CHECK(s.log_level == again.log_level && s.relay_budget == again.relay_budget);
        }
        settings_done(&s);
        settings_done(&again);
        return 0;
}
