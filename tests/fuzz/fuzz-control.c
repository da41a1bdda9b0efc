/* Control messages: taken if and only if jansson sees an object with a string `type`. */
#include "fuzz.h"
#include "json-oracle.h"
#include "liblinkproto/control.h"

static size_t characters(const char *s)
{
        size_t n = 0;

        for (; *s; s++)
                n += (*s & 0xc0) != 0x80;
        return n;
}

static void check_fields(const ControlMessage *m)
{
        char out[4096];
        ControlMessage again;

        CHECK(characters(m->address) <= LINK_ID_MAX && characters(m->link_id) <= LINK_ID_MAX);
        CHECK(strlen(m->error) < sizeof(m->error));
        CHECK((m->type == CONTROL_UNKNOWN) == !control_type_name(m->type));
        CHECK(!m->auth.p || json_scan_value(m->auth.p, m->auth.n, NULL) == 0);
        CHECK(!m->connections.p || json_scan_value(m->connections.p, m->connections.n, NULL) == 0);
        if (m->type == CONTROL_UNKNOWN)
                return;
        CHECK(control_encode(m->type, m->link_id, m->address, m->error, out, sizeof(out)) > 0);
        CHECK(control_decode(out, strlen(out), &again) == 0);
        CHECK(again.type == m->type && strcmp(again.address, m->address) == 0 &&
              strcmp(again.link_id, m->link_id) == 0 && strcmp(again.error, m->error) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        ControlMessage m;
        json_error_t error;
        size_t n = 0;
        int r = control_decode(text, size, &m);
        _cleanup_(freep) char *plain = oracle_plain(text, size, &n);
        json_t *tree = plain ? json_loadb(plain, n, JSON_ALLOW_NUL, &error) : NULL;
        const json_t *type = json_object_get(tree, "type");
        bool expect = type && json_typeof(type) == JSON_STRING;

        CHECK(r == 0 || r == -EBADMSG);
        if (r == 0)
                check_fields(&m);
        if (plain && json_scan_value(text, size, NULL) != -E2BIG)
                CHECK((control_decode(plain, n, &m) == 0) == expect);
        json_decref(tree);
        return 0;
}
