/* relay.conf: taken with every value in its range, or refused by a text that names the file; twice
 * the same. */
#include <sodium.h>

#include "liblinkproto/util.h"
#include "relay/relay-config.h"
#include "tests/fuzz/fuzz.h"
#include "workdir.h"

static int load(RelayConfig *c, char **ret_fault)
{
        relay_config_init(c);
        return relay_config_load(c, workdir_path("relay.conf"), true, ret_fault);
}

static void check_taken(const RelayConfig *c)
{
        CHECK(c->port <= 65535 && c->trust_proxy <= 1);
        CHECK(c->n_listen <= LISTENERS_MAX);
        for (size_t i = 0; i < c->n_listen; i++)
                CHECK(c->listen[i] && c->listen[i][0]);
        CHECK(c->closed || c->allowlist.n == 0);
        for (size_t i = 0; i < c->allowlist.n; i++) {
                CHECK(i == 0 || memcmp(c->allowlist.keys[i - 1], c->allowlist.keys[i], 32) <= 0);
                CHECK(relay_config_allows(c, c->allowlist.keys[i]));
        }
}

static void check_same(const RelayConfig *a, const RelayConfig *b)
{
        CHECK(a->port == b->port && a->idle_sec == b->idle_sec);
        CHECK(memcmp(&a->shape, &b->shape, sizeof(a->shape)) == 0);
        CHECK(a->max_connections == b->max_connections && a->closed == b->closed);
        CHECK(a->n_listen == b->n_listen && a->allowlist.n == b->allowlist.n);
        CHECK((a->origin == NULL) == (b->origin == NULL));
        CHECK(!a->origin || strcmp(a->origin, b->origin) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *fault = NULL;
        RelayConfig c, again;
        int r;

        CHECK(sodium_init() >= 0);
        workdir_write("relay.conf", data, size);
        r = load(&c, &fault);
        CHECK(r <= 0 && (r == 0) == (fault == NULL));
        if (r < 0) {
                CHECK(strstr(fault, "relay.conf"));
        } else {
                check_taken(&c);
                CHECK(load(&again, &fault) == 0);
                check_same(&c, &again);
                relay_config_done(&again);
        }
        relay_config_done(&c);
        return 0;
}
