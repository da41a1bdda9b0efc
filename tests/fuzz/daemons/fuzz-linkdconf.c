/* linkd.conf: taken, or refused with a word on stderr; twice the same. */
#include <fcntl.h>
#include <sodium.h>

#include "linkd/config.h"
#include "tests/fuzz/fuzz.h"
#include "workdir.h"

static int load(Config *c, const char **ret_said)
{
        char path[512];
        char *argv[] = {(char[]){"linkd"}, (char[]){"--config"}, path, NULL};
        int r;

        (void)snprintf(path, sizeof(path), "%s", workdir_path("linkd.conf")); /* fits */
        capture_begin();
        r = config_load(c, 3, argv);
        *ret_said = capture_end();
        return r;
}

/* What was refused is named: "linkd: FILE:LINE: ..." */
static void check_refused(const char *said)
{
        size_t n = strlen(said);

        CHECK(strncmp(said, "linkd: ", 7) == 0 && said[n - 1] == '\n');
        CHECK(strstr(said, workdir_path("linkd.conf")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                                "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
        Config c = {}, again = {};
        const char *said;
        int r;

        CHECK(sodium_init() >= 0);
        for (size_t i = 0; i < ELEMENTSOF(variables); i++)
                CHECK(unsetenv(variables[i]) == 0);
        workdir_write("linkd.conf", data, size);
        r = load(&c, &said);
        CHECK(r <= 0);
        if (r < 0) {
                check_refused(said);
        } else {
                CHECK(c.state_dir[0] == '/' && c.socket[0] == '/');
                CHECK(c.log_level <= LOG_LEVEL_DEBUG);
                CHECK(load(&again, &said) == 0);
                CHECK(strcmp(c.state_dir, again.state_dir) == 0);
                CHECK(strcmp(c.socket, again.socket) == 0 && c.log_level == again.log_level);
                config_done(&again);
                config_done(&c);
        }
        return 0;
}
