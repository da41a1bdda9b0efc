#include "conn.h"

#include <errno.h>
#include <unistd.h>

#include "relay-internal.h"
#include "socket.h"

/* ---- life ---- */

/* The cheapest end: no state stays behind, here or in the kernel. */
static void refuse(int fd)
{
        const struct linger reset = {.l_onoff = 1};

        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset,
                         sizeof(reset)); /* else it waits a minute */
        (void)close(fd);
}

int conn_new(Relay *r, int fd, const struct sockaddr *sa)
{
        IpKey key = ip_key_of_sockaddr(sa);
        const IpCaps caps = {r->config.max_connections_per_ip, r->config.accepts_per_sec_per_ip};
        Conn *c = calloc(1, sizeof(*c));
        int err;

        if (!c) {
                refuse(fd);
                return -ENOMEM;
        }
        c->relay = r;
        c->fd = fd;
        c->deadline = DEADLINE_NONE;
        /* A trusted proxy may be on another machine: whom it brings is judged at the head. */
        err = iptable_open(&r->ips, &key, r->config.trust_proxy ? NULL : &caps, relay_now_msec(r),
                           &c->ip);
        if (err == 0)
                err = socket_init(c);
        if (err < 0) {
                if (c->ip)
                        iptable_close(&r->ips, c->ip, relay_now_msec(r));
                refuse(fd);
                free(c);
                return err;
        }
        r->n_conns++;
        if (r->n_heads++ >= HEADS_MAX) {
                relay_count_refusal(r, REFUSED_HEADS);
                conn_drop(TAILQ_FIRST(&r->deadlines[DEADLINE_HEAD]));
        }
        TAILQ_INSERT_TAIL(&r->all, c, in_all);
        conn_set_deadline(c, DEADLINE_HEAD);
        conn_update_watch(c);
        return 0;
}

static void on_closed(Conn *c)
{
        Relay *r = c->relay;

        free(c);
        r->n_conns--;
        relay_check_stopped(r);
}

static void leave_stalls(Conn *c)
{
        if (c->stalled)
                TAILQ_REMOVE(&c->relay->stalls, c, in_stall);
        c->stalled = false;
}

static void enter_stalls(Conn *c)
{
        TAILQ_INSERT_TAIL(&c->relay->stalls, c, in_stall);
        c->stalled = true;
        c->stall_msec = relay_now_msec(c->relay);
}

/* What an open WebSocket has and a closing one has not. */
static void leave_open(Conn *c)
{
        Relay *r = c->relay;

        if (c->phase != CONN_OPEN)
                return;
        TAILQ_REMOVE(&r->pings, c, in_ping);
        r->stats.n_roles[c->role]--;
        wheel_remove(&r->wheel, &c->hold);
        c->held = c->head_due = false;
}

static void free_buffers(Conn *c)
{
        c->relay->stats.queued_bytes -=
                c->in_off ? c->in.len : 0; /* payload behind a held header */
        c->in_off = 0;
        buf_done(&c->in);
        free(c->frame);
        c->frame = NULL;
        free(c->host);
        c->host = NULL;
}

static void drop_output(Conn *c)
{
        c->relay->stats.queued_bytes -= c->out.len - c->out_off;
        buf_done(&c->out);
        c->out_off = 0;
        leave_stalls(c);
}

void conn_drop(Conn *c)
{
        if (c->phase == CONN_DEAD)
                return;
        c->relay->n_heads -= c->phase == CONN_HEAD;
        leave_open(c);
        c->phase = CONN_DEAD;
        conn_set_deadline(c, DEADLINE_NONE);
        drop_output(c);
        free_buffers(c);
        TAILQ_REMOVE(&c->relay->all, c, in_all);
        if (c->ip) /* else it was refused */
                iptable_close(&c->relay->ips, c->ip, relay_now_msec(c->relay));
        socket_close(c, on_closed);
        link_left(c);
}

void conn_answered(Conn *c)
{
        socket_shutdown(c); /* and wait for its end, so that nothing is reset on the way */
        conn_set_deadline(c, DEADLINE_LINGER);
}

/* Everything is out: what comes next? */
static void closing_drained(Conn *c)
{
        if (c->http) {
                conn_answered(c);
        } else if (c->peer_closed || c->read_on_end || !c->close_queued) {
                conn_drop(c);
        } else if (c->deadline != DEADLINE_LINGER) {
                conn_set_deadline(c, DEADLINE_LINGER);
        }
}

void conn_close(Conn *c, unsigned code)
{
        uint8_t frame[4];

        if (c->phase == CONN_HEAD)
                conn_drop(c);
        if (c->phase != CONN_OPEN)
                return;
        leave_open(c);
        c->phase = CONN_CLOSING;
        c->close_code = (uint16_t)code;
        stats_count_close(&c->relay->stats, code);
        free_buffers(c);
        /* An end that takes nothing is not waited for a second time. */
        conn_set_deadline(c, code == CLOSE_SLOW_PEER ? DEADLINE_LINGER : DEADLINE_NONE);
        link_left(c);
        if (!c->tx_mid_frame) {
                c->close_queued = true;
                conn_write(c, frame, wsframe_encode_close(frame, code));
        }
        if (c->phase == CONN_CLOSING && !conn_has_output(c))
                closing_drained(c);
        if (c->phase == CONN_CLOSING)
                conn_update_watch(c);
}

void conn_set_deadline(Conn *c, ConnDeadline d)
{
        Relay *r = c->relay;

        if (c->deadline != DEADLINE_NONE)
                TAILQ_REMOVE(&r->deadlines[c->deadline], c, in_deadline);
        c->deadline = (uint8_t)d;
        if (d == DEADLINE_NONE)
                return;
        c->deadline_msec = relay_now_msec(r);
        TAILQ_INSERT_TAIL(&r->deadlines[d], c, in_deadline);
}

static bool wants_read(const Conn *c)
{
        switch ((ConnPhase)c->phase) {
        case CONN_HEAD:
                return true;
        case CONN_OPEN:
                return !c->spliced || (!c->held && !c->head_due && c->in.len == 0 &&
                                       !conn_has_output(link_other_end(c)));
        case CONN_CLOSING:
                return !c->read_on_end;
        case CONN_DEAD:
                break;
        }
        return false;
}

void conn_update_watch(Conn *c)
{
        if (c->phase == CONN_DEAD)
                return;
        socket_watch(c, (wants_read(c) ? UV_READABLE : 0) | (conn_has_output(c) ? UV_WRITABLE : 0));
}

/* ---- out ---- */

void conn_write(Conn *c, const void *p, size_t n)
{
        ssize_t sent = 0;

        if (c->phase == CONN_DEAD || n == 0)
                return;
        if (!conn_has_output(c)) {
                sent = socket_write(c, p, n);
                if (sent == -EAGAIN)
                        sent = 0;
                if (sent < 0) {
                        conn_drop(c);
                        return;
                }
                if ((size_t)sent == n)
                        return;
        }
        buf_add(&c->out, (const uint8_t *)p + sent, n - (size_t)sent);
        if (buf_ok(&c->out) < 0) {
                conn_drop(c);
                return;
        }
        c->relay->stats.queued_bytes += n - (size_t)sent;
        if (!c->stalled)
                enter_stalls(c);
        conn_update_watch(c);
}

void conn_send_text(Conn *c, const char *text, size_t n)
{
        uint8_t head[WSFRAME_HEAD_MAX];

        if (c->phase != CONN_OPEN)
                return;
        if (c->out.len - c->out_off + n > CONTROL_OUT_MAX) {
                conn_close(c, CLOSE_SLOW_PEER);
                return;
        }
        conn_write(c, head, wsframe_encode_head(head, true, WS_TEXT, n, NULL));
        conn_write(c, text, n);
}

/* Only into an empty output: so a peer that pings and never reads has one pong waiting, not many.
 */
void conn_flush_control(Conn *c)
{
        uint8_t frame[2 + WSFRAME_CONTROL_MAX];

        if (c->phase != CONN_OPEN || c->tx_mid_frame || conn_has_output(c))
                return;
        if (c->frame && c->frame->pong_due) {
                size_t n = wsframe_encode_head(frame, true, WS_PONG, c->frame->len, NULL);
                memcpy(frame + n, c->frame->data, c->frame->len);
                n += c->frame->len;
                free(c->frame);
                c->frame = NULL;
                conn_write(c, frame, n);
        }
        if (c->ping_due && c->phase == CONN_OPEN && !conn_has_output(c)) {
                c->ping_due = false;
                c->ping_sent = true;
                c->alive = false;
                conn_write(c, frame, wsframe_encode_head(frame, true, WS_PING, 0, NULL));
        }
}

static void drained(Conn *c)
{
        drop_output(c);
        if (c->phase == CONN_CLOSING) {
                closing_drained(c);
                return;
        }
        conn_flush_control(c);
        if (c->phase == CONN_OPEN && c->spliced && !conn_has_output(c))
                splice_resume(link_other_end(c));
}

void conn_on_writable(Conn *c)
{
        if (conn_has_output(c)) {
                ssize_t n = socket_write(c, c->out.data + c->out_off, c->out.len - c->out_off);

                if (n < 0 && n != -EAGAIN) {
                        conn_on_failed(c);
                        return;
                }
                if (n > 0) {
                        c->out_off += (size_t)n;
                        c->relay->stats.queued_bytes -= (uint64_t)n;
                        leave_stalls(c);
                        enter_stalls(c); /* it takes something */
                }
                if (!conn_has_output(c))
                        drained(c);
        }
        conn_update_watch(c);
}

/* ---- in ---- */

static void discard(Conn *c, uint8_t *data, size_t len)
{
        uint8_t *p;
        size_t at = 0, n;
        int event;

        if (c->http || c->rx_broken)
                return;
        do {
                event = wsreceiver_next(&c->rx, data, len, &at, LINK_MESSAGE_MAX, &p, &n);
                if (event == WS_EVENT_END && c->rx.opcode == WS_CLOSE) {
                        c->peer_closed = true;
                        if (!conn_has_output(c))
                                conn_drop(c);
                        return;
                }
        } while (event > 0);
        c->rx_broken = event < 0;
}

static void on_end(Conn *c)
{
        if (c->phase != CONN_CLOSING || !conn_has_output(c)) {
                conn_drop(c);
                return;
        }
        c->read_on_end = true; /* what is queued still goes out */
        conn_update_watch(c);
}

void conn_on_readable(Conn *c)
{
        uint8_t *data = c->relay->read_buffer + WSFRAME_HEAD_MAX;
        ssize_t n = socket_read(c, data, READ_BYTES);

        if (n == -EAGAIN)
                return;
        if (n < 0) {
                conn_drop(c);
                return;
        }
        if (n == 0) {
                on_end(c);
                return;
        }
        c->alive = true;
        switch ((ConnPhase)c->phase) {
        case CONN_HEAD:
                conn_head_bytes(c, data, (size_t)n);
                break;
        case CONN_OPEN:
                conn_take_frames(c, data, (size_t)n);
                break;
        case CONN_CLOSING:
                discard(c, data, (size_t)n);
                break;
        case CONN_DEAD:
                break;
        }
        conn_update_watch(c);
}

void conn_on_failed(Conn *c)
{
        /* What came before the failure is still delivered. */
        while (c->phase != CONN_DEAD && wants_read(c)) {
                c->alive = false;
                conn_on_readable(c);
                if (!c->alive)
                        break;
        }
        conn_drop(c);
}

bool conn_control_data(Conn *c, const uint8_t *p, size_t n)
{
        if (c->rx.opcode == WS_PONG)
                return true; /* that it came is all it says */
        if (!c->frame || c->frame->pong_due) {
                /* A pong that waits gives way to the newer one (RFC 6455 section 5.5.3). */
                free(c->frame);
                c->frame = calloc(1, sizeof(*c->frame));
        }
        if (!c->frame) {
                conn_drop(c);
                return false;
        }
        memcpy(c->frame->data + c->frame->len, p, n); /* 125 in all: wsframe has checked it */
        c->frame->len = (uint8_t)(c->frame->len + n);
        return true;
}

static void close_frame(Conn *c)
{
        size_t len = c->frame && !c->frame->pong_due ? c->frame->len : 0;
        unsigned code = WS_CLOSE_PROTOCOL;
        int r = wsframe_decode_close(c->frame ? c->frame->data : NULL, len, &code);

        if (r == -EBADMSG)
                code = WS_CLOSE_BAD_DATA;
        c->peer_closed = true;
        conn_close(c, code);
}

bool conn_control_frame(Conn *c)
{
        if (c->rx.opcode == WS_CLOSE) {
                close_frame(c);
                return false;
        }
        if (c->rx.opcode == WS_PONG)
                return true;
        if (!c->frame || c->frame->pong_due) { /* an empty ping */
                free(c->frame);
                c->frame = calloc(1, sizeof(*c->frame));
                if (!c->frame) {
                        conn_drop(c);
                        return false;
                }
        }
        c->frame->pong_due = true;
        conn_flush_control(c);
        return c->phase == CONN_OPEN;
}

/* ---- control messages ---- */

static void fault(Conn *c, int error, unsigned too_big)
{
        c->rx_broken = true;
        conn_close(c, error == -EMSGSIZE ? too_big : WS_CLOSE_PROTOCOL);
}

/* The end of a data frame: a whole message is looked at where it lies, one in pieces in c->in. */
static void text_end(Conn *c, const uint8_t *whole, size_t whole_len)
{
        Buf text = c->in;

        if (!c->rx.fin)
                return;
        c->in = (Buf){};
        if (buf_ok(&text) < 0)
                conn_drop(c);
        else
                control_message(c, text.len ? text.data : whole, text.len ? text.len : whole_len);
        buf_done(&text);
}

static void text_data(Conn *c, const uint8_t *p, size_t n, const uint8_t **whole, size_t *whole_len)
{
        if (c->in.len == 0 && c->rx.fin && c->rx.left == 0) {
                *whole = p;
                *whole_len = n;
        } else {
                buf_add(&c->in, p, n);
        }
}

void conn_take_frames(Conn *c, uint8_t *data, size_t len)
{
        const uint8_t *whole = NULL;
        size_t at = 0, n, whole_len = 0;
        uint8_t *p;

        while (c->phase == CONN_OPEN && !c->spliced) {
                int event = wsreceiver_next(&c->rx, data, len, &at, CONTROL_RELAY_MAX, &p, &n);
                bool control = wsframe_is_control(c->rx.opcode);

                if (event == WS_EVENT_MORE)
                        return;
                if (event < 0)
                        fault(c, event, CLOSE_BAD_REQUEST);
                else if (event == WS_EVENT_HEAD && c->rx.opcode == WS_BINARY)
                        conn_close(c, CLOSE_BAD_REQUEST);
                else if (event == WS_EVENT_DATA && control)
                        (void)conn_control_data(c, p, n); /* the phase tells */
                else if (event == WS_EVENT_DATA)
                        text_data(c, p, n, &whole, &whole_len);
                else if (event == WS_EVENT_END && control)
                        (void)conn_control_frame(c);
                else if (event == WS_EVENT_END) {
                        text_end(c, whole, whole_len);
                        whole_len = 0;
                }
        }
        if (c->phase == CONN_OPEN)
                splice_bytes(c, data + at, len - at);
        else if (c->phase == CONN_CLOSING)
                discard(c, data + at, len - at);
}

/* ---- deadlines ---- */

static void sweep_deadlines(Relay *r, uint64_t now_msec)
{
        static const unsigned msec[N_DEADLINES] = {
                [DEADLINE_HEAD] = HEAD_MSEC,
                [DEADLINE_ROLE] = ROLE_MSEC,
                [DEADLINE_HTTP] = HTTP_MSEC,
                [DEADLINE_LINGER] = LINGER_MSEC,
        };
        Conn *c;

        for (size_t i = 0; i < N_DEADLINES; i++)
                while ((c = TAILQ_FIRST(&r->deadlines[i])) &&
                       now_msec - c->deadline_msec >= msec[i])
                        if (i == DEADLINE_ROLE)
                                conn_close(c, CLOSE_BAD_REQUEST);
                        else
                                conn_drop(c);
}

/* One that is not read, or does not take what waits for it, cannot answer: the rule for stalled
 * ends judges it. */
static void ping(Conn *c)
{
        bool judged = c->ping_sent && wants_read(c) && !conn_has_output(c);

        if (judged && !c->alive) {
                conn_drop(c);
                return;
        }
        c->ping_sent = false;
        c->ping_due = true;
        conn_flush_control(c);
}

static void sweep_pings(Relay *r, uint64_t now_msec)
{
        Conn *c;

        while ((c = TAILQ_FIRST(&r->pings)) && now_msec - c->ping_msec >= PING_MSEC) {
                TAILQ_REMOVE(&r->pings, c, in_ping);
                TAILQ_INSERT_TAIL(&r->pings, c, in_ping);
                c->ping_msec = now_msec;
                ping(c);
        }
}

static void stalled(Conn *c)
{
        leave_stalls(c);
        enter_stalls(c);
        if (c->phase != CONN_OPEN)
                conn_drop(c);
        else if (c->spliced)
                link_end(c->link, REASON_SLOW_PEER, CLOSE_SLOW_PEER, CLOSE_SLOW_PEER);
        else
                conn_close(c, CLOSE_SLOW_PEER);
}

void conn_sweep(Relay *r, uint64_t now_msec)
{
        Conn *c;

        sweep_deadlines(r, now_msec);
        sweep_pings(r, now_msec);
        while ((c = TAILQ_FIRST(&r->stalls)) && now_msec - c->stall_msec >= STALL_MSEC)
                stalled(c);
}
