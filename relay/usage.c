#include "usage.h"

#include <stdio.h>

#include "relay-internal.h"

static double used(Link *l)
{
        const Relay *r = l->client->relay;

        return shape_used(&l->shape, &r->config.shape, relay_now_msec(r));
}

static unsigned level_of(double used)
{
        return used >= 1 ? 4 : used >= 0.95 ? 3 : used >= 0.8 ? 2 : used >= 0.5 ? 1 : 0;
}

/* Four decimals at most, none that is a zero at the end. */
void usage_format(double used, char out[16])
{
        size_t n = (size_t)snprintf(out, 16, "%.4f", used); /* 0.0000 to 1.0000 */

        while (out[n - 1] == '0')
                out[--n] = '\0';
        if (out[n - 1] == '.')
                out[--n] = '\0';
}

static void add_link(Buf *b, Link *l)
{
        const Relay *r = l->client->relay;
        char text[16];

        if (b->data[b->len - 1] != '[')
                buf_add_u8(b, ',');
        if (!r->config.shape.hourly_bytes) {
                buf_printf(b, "{\"linkId\":\"%s\",\"unlimited\":true}", l->id);
                return;
        }
        usage_format(used(l), text);
        buf_printf(b, "{\"linkId\":\"%s\",\"used\":%s,\"throttled\":%s}", l->id, text,
                   l->shape.throttled ? "true" : "false");
        l->told_level = (uint8_t)level_of(used(l));
        l->told_throttled = l->shape.throttled;
}

static void begin(Buf *b)
{
        b->len = 0;
        buf_add_str(b, "{\"type\":\"usage\",\"connections\":[");
}

static void finish(Buf *b, Conn *control)
{
        buf_add_str(b, "]}");
        if (buf_ok(b) == 0)
                conn_send_text(control, (const char *)b->data, b->len);
        else
                conn_drop(control);
}

void usage_send(Conn *control)
{
        enum { ENTRY_MAX = 128 };
        Address *a;
        Link *l;
        Buf b = {};

        begin(&b);
        LIST_FOREACH(a, &control->addresses, of_holder)
        {
                LIST_FOREACH(l, &a->links, of_address)
                {
                        if (l->state != LINK_RELAYING || buf_ok(&b) < 0)
                                continue;
                        if (b.len > USAGE_BYTES_MAX - ENTRY_MAX) {
                                finish(&b, control);
                                begin(&b);
                                if (control->phase != CONN_OPEN)
                                        goto out; /* its lists are gone */
                        }
                        add_link(&b, l);
                }
        }
        finish(&b, control);
out:
        buf_done(&b);
}

static bool differs(Link *l)
{
        return level_of(used(l)) != l->told_level || l->shape.throttled != l->told_throttled;
}

static void watch(Link *l)
{
        Relay *r = l->client->relay;

        usage_forget(l);
        l->usage_msec = relay_now_msec(r);
        l->watched_usage = true;
        TAILQ_INSERT_TAIL(&r->usage, l, in_usage);
}

static void push(Link *l)
{
        /* With no control socket to tell, it counts as told: whoever registers next can ask. */
        l->told_level = (uint8_t)level_of(used(l));
        l->told_throttled = l->shape.throttled;
        watch(l);
        if (l->address->holder)
                usage_send(l->address->holder);
}

void usage_charged(Link *l)
{
        if (l->client->relay->config.shape.hourly_bytes && !l->watched_usage && differs(l))
                push(l);
}

void usage_forget(Link *l)
{
        if (l->watched_usage)
                TAILQ_REMOVE(&l->client->relay->usage, l, in_usage);
        l->watched_usage = false;
}

void usage_sweep(Relay *r, uint64_t now_msec)
{
        Link *l;

        while ((l = TAILQ_FIRST(&r->usage)) && now_msec - l->usage_msec >= USAGE_MSEC) {
                usage_forget(l);
                if (differs(l))
                        push(l);
                else if (l->told_level || l->told_throttled)
                        watch(l); /* the quota refills: it will cross back by itself */
        }
}
