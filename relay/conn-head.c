/* The request head of a connection: to a WebSocket, or to an HTTP answer. */
#include "liblinkproto/wshandshake.h"
#include "relay-internal.h"

/* Behind a proxy that is trusted the client's address is what it says; without a word of its own it
 * is judged as a client. */
static bool take_forwarded_address(Conn *c, const WsRequest *q)
{
        Relay *r = c->relay;
        const IpCaps caps = {r->config.max_connections_per_ip, r->config.accepts_per_sec_per_ip};
        IpKey key;
        int err;

        if (!r->config.trust_proxy)
                return true;
        if (ip_key_parse(q->forwarded_for, &key) < 0)
                key = c->ip->key;
        iptable_close(&r->ips, c->ip, relay_now_msec(r));
        c->ip = NULL;
        err = iptable_open(&r->ips, &key, &caps, relay_now_msec(r), &c->ip);
        if (err < 0)
                relay_count_refusal(r, relay_refusal_of(err));
        return err == 0;
}

static void upgrade(Conn *c, const WsRequest *q)
{
        Relay *r = c->relay;
        char response[WSHANDSHAKE_RESPONSE_MAX];
        int n = wshandshake_response(q->key, relay_wall_msec(), response);

        c->host = strdup(q->host);
        if (n < 0 || !c->host || !take_forwarded_address(c, q)) {
                conn_drop(c);
                return;
        }
        r->n_heads--;
        c->phase = CONN_OPEN;
        c->role = ROLE_NEW;
        r->stats.n_roles[ROLE_NEW]++;
        wsreceiver_init(&c->rx, true);
        conn_set_deadline(c, DEADLINE_ROLE);
        c->ping_msec = relay_now_msec(r);
        TAILQ_INSERT_TAIL(&r->pings, c, in_ping);
        conn_write(c, response, (size_t)n);
}

/* data: all that has come, writable. */
static void look(Conn *c, uint8_t *data, size_t len)
{
        WsRequest q;

        WsHeadResult result = wshandshake_read((const char *)data, len, &q);

        if (result == WSHEAD_MORE ? len >= HEAD_BYTES_MAX
                                  : result != WSHEAD_BAD && q.head_len > HEAD_BYTES_MAX)
                result = WSHEAD_BAD;
        switch (result) {
        case WSHEAD_MORE:
                break;
        case WSHEAD_UPGRADE:
                upgrade(c, &q);
                if (c->phase == CONN_OPEN)
                        conn_take_frames(c, data + q.head_len, len - q.head_len);
                break;
        case WSHEAD_OTHER:
                http_answer(c, &q);
                break;
        case WSHEAD_BAD:
                http_bad_request(c);
                break;
        }
}

void conn_head_bytes(Conn *c, uint8_t *data, size_t len)
{
        Buf head = c->in;

        c->in = (Buf){};
        /* The data lie in the shared buffer, which has room before them; so has what follows a
         * head. */
        if (head.len == 0) {
                look(c, data, len);
        } else {
                buf_add(&head, data, len);
                if (buf_ok(&head) == 0)
                        look(c, head.data, head.len);
                else
                        conn_drop(c);
        }
        if (c->phase == CONN_HEAD && head.len == 0)
                buf_add(&head, data, len);
        if (c->phase == CONN_HEAD && buf_ok(&head) == 0) {
                c->in = head;
                return;
        }
        buf_done(&head);
        if (c->phase == CONN_HEAD)
                conn_drop(c);
}
