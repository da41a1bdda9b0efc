/* linkd.conf: taken with every value in its range, or refused by a text that names the file; twice
 * the same. */
#include <sodium.h>

#include "linkd/config.h"
#include "linkd/limits.h"
#include "tests/fuzz/fuzz.h"
#include "workdir.h"

static int load(Config *c, char **ret_fault)
{
        char path[512];
        char *argv[] = {(char[]){"linkd"}, (char[]){"--config"}, path, NULL};

        (void)snprintf(path, sizeof(path), "%s", workdir_path("linkd.conf")); /* fits */
        return config_load(c, 3, argv, ret_fault);
}

static size_t count_pins(const Settings *s)
{
        size_t n = 0;

        for (const RelayPin *p = s->pins; p; p = p->next, n++)
                CHECK(strncmp(p->url, "wss://", 6) == 0 && settings_pin(s, p->url));
        return n;
}

static void check_list(const AccessList *l)
{
        CHECK(l->given || (l->n_uids == 0 && l->n_gids == 0));
}

static void check_taken(const Settings *s)
{
        CHECK(s->state_dir[0] == '/' && s->socket[0] == '/');
        CHECK(s->log_level <= LOG_LEVEL_DEBUG);
        CHECK(s->self_check_msec >= 1000 && s->self_check_msec <= SELF_CHECK_MAX_SEC * 1000ULL);
        CHECK(s->relay_budget <= RELAY_BUDGET_MAX);
        CHECK(count_pins(s) <= PINS_MAX);
        check_list(&s->access.read);
        check_list(&s->access.use);
        check_list(&s->access.serve);
        check_list(&s->access.administer);
        for (const AccessOf *o = s->access.peers; o; o = o->next)
                CHECK(o->name && access_find(s->access.peers, o->name));
        for (const AccessOf *o = s->access.hosts; o; o = o->next)
                CHECK(o->name && access_find(s->access.hosts, o->name));
}

static void check_same(const Settings *a, const Settings *b)
{
        CHECK(strcmp(a->state_dir, b->state_dir) == 0 && strcmp(a->socket, b->socket) == 0);
        CHECK(a->log_level == b->log_level && a->self_check_msec == b->self_check_msec);
        CHECK(a->relay_budget == b->relay_budget && count_pins(a) == count_pins(b));
        CHECK(a->access.use.given == b->access.use.given);
        CHECK(a->access.use.n_uids == b->access.use.n_uids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                                "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
        _cleanup_(freep) char *fault = NULL;
        Config c = {}, again = {};
        int r;

        CHECK(sodium_init() >= 0);
        for (size_t i = 0; i < ELEMENTSOF(variables); i++)
                CHECK(unsetenv(variables[i]) == 0);
        workdir_write("linkd.conf", data, size);
        r = load(&c, &fault);
        CHECK(r <= 0 && (r == 0) == (fault == NULL));
        if (r < 0) {
                CHECK(strstr(fault, "linkd.conf"));
                return 0;
        }
        check_taken(&c.settings);
        CHECK(load(&again, &fault) == 0);
        check_same(&c.settings, &again.settings);
        config_done(&again);
        config_done(&c);
        return 0;
}
