/* The few documents that the relay answers over HTTP. The request's head has been read by the time
 * that it is known not to be an upgrade, so what remains is one write and an orderly end. */
#include <stdio.h>

#include "liblinkproto/wshandshake.h"
#include "relay-internal.h"

static void answer(Conn *c, const char *status, const char *type, const Buf *body, bool head_only)
{
        char head[320], date[WSHANDSHAKE_DATE_MAX];
        int r = wshandshake_date(relay_wall_msec(), date);
        int n = snprintf(head, sizeof(head),
                         "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                         "%s%s%sCache-Control: no-store\r\nConnection: close\r\n\r\n",
                         status, type, body->len, r < 0 ? "" : "Date: ", r < 0 ? "" : date,
                         r < 0 ? "" : "\r\n");

        if (buf_ok(body) < 0 || n < 0 || (size_t)n >= sizeof(head)) {
                conn_drop(c);
                return;
        }
        c->relay->n_heads--;
        c->phase = CONN_CLOSING;
        c->http = true;
        conn_set_deadline(c, DEADLINE_HTTP);
        conn_write(c, head, (size_t)n);
        if (!head_only)
                conn_write(c, body->data, body->len);
        if (c->phase == CONN_CLOSING && !conn_has_output(c))
                conn_said_all(c);
}

static const char json_type[] = "application/json";

void http_bad_request(Conn *c)
{
        Buf body = {};

        buf_add_str(&body, "{\"error\":\"bad_request\"}");
        answer(c, "400 Bad Request", json_type, &body, false);
        buf_done(&body);
}

void http_answer(Conn *c, const WsRequest *q)
{
        const char *status = "200 OK", *type = json_type;
        bool read = q->is_get || q->is_head;
        Buf body = {};

        if (read && (strcmp(q->path, "/health") == 0 || strcmp(q->path, "/healthz") == 0)) {
                buf_add_str(&body, "{\"status\":\"ok\"}");
        } else if (read && strcmp(q->path, "/metrics") == 0) {
                type = "text/plain; version=0.0.4";
                relay_metrics(c->relay, &body);
        } else if (read && strcmp(q->path, "/v1/stats") == 0) {
                if (c->relay->stats.queued_bytes <= c->relay->config.max_queue_bytes) {
                        stats_document(c->relay, &body);
                } else { /* it may be large */
                        status = "503 Service Unavailable";
                        buf_add_str(&body, "{\"error\":\"busy\"}");
                }
        } else {
                status = "404 Not Found";
                buf_add_str(&body, "{\"error\":\"not_found\"}");
        }
        answer(c, status, type, &body, q->is_head);
        buf_done(&body);
}
