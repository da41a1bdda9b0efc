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

static void list_stall(Conn *c, size_t unacknowledged)
{
        TAILQ_INSERT_TAIL(&c->relay->stalls, c, in_stall);
        c->stalled = true;
        c->look_msec = relay_now_msec(c->relay);
        c->stall_bytes = unacknowledged;
}

static void enter_stalls(Conn *c)
{
        list_stall(c, socket_unacknowledged(c));
        c->stall_msec = c->look_msec;
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

void conn_said_all(Conn *c)
{
        socket_shutdown(c); /* and wait for its end, so that nothing is reset on the way */
        conn_set_deadline(c, DEADLINE_LINGER);
}

/* Everything is out: what comes next? */
static void closing_drained(Conn *c)
{
        if (c->peer_closed || c->read_on_end || c->tx_broken) {
                conn_drop(c);
        } else if (c->http || c->rx_broken || !c->close_queued) {
                conn_said_all(c);
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
        if (c->spliced && c->in.len)
                c->rx_broken = true; /* bytes go here that the next ones would have to follow */
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
        bool read;

        if (c->phase == CONN_DEAD)
                return;
        read = wants_read(c);
        if (!read)
                c->ping_sent = false; /* its answer may lie there unread: the next one judges */
        socket_watch(c, (read ? UV_READABLE : 0) | (conn_has_output(c) ? UV_WRITABLE : 0));
}

/* ---- out ---- */

/* The peer has gone. What it sent before is still delivered to the link's other end. */
static void write_failed(Conn *c, ssize_t error)
{
        if (c->phase == CONN_OPEN && c->spliced && (error == -EPIPE || error == -ECONNRESET))
                c->tx_broken = true; /* reading will find the end */
        else
                conn_drop(c);
}

void conn_write(Conn *c, const void *p, size_t n)
{
        ssize_t sent = 0;

        if (c->phase == CONN_DEAD || n == 0 || c->tx_broken)
                return;
        if (!conn_has_output(c)) {
                sent = socket_write(c, p, n);
                if (sent == -EAGAIN)
                        sent = 0;
                if (sent < 0) {
                        write_failed(c, sent);
                        return;
                }
                if ((size_t)sent == n)
                        return;
        }
        if (c->out_off > c->out.len / 2) { /* what has gone must not pile up */
                buf_drop(&c->out, c->out_off);
                c->out_off = 0;
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
        uint8_t frame[WSFRAME_HEAD_MAX + CONTROL_RELAY_MAX];
        size_t head_len;

        if (c->phase != CONN_OPEN)
                return;
        if (c->out.len - c->out_off + n > CONTROL_OUT_MAX) {
                conn_close(c, CLOSE_SLOW_PEER);
                return;
        }
        head_len = wsframe_encode_head(frame, true, WS_TEXT, n, NULL);
        if (n <= CONTROL_RELAY_MAX) { /* all but a long `usage`: one write, one packet */
                memcpy(frame + head_len, text, n);
                conn_write(c, frame, head_len + n);
        } else {
                conn_write(c, frame, head_len);
                conn_write(c, text, n);
        }
}

/* The next ping is due a whole interval after this one has left: it may have been held back. */
static void list_ping(Conn *c)
{
        Relay *r = c->relay;

        TAILQ_REMOVE(&r->pings, c, in_ping);
        TAILQ_INSERT_TAIL(&r->pings, c, in_ping);
        c->ping_msec = relay_now_msec(r);
}

void conn_insert_control(Conn *c)
{
        uint8_t frame[2 + WSFRAME_CONTROL_MAX];

        if (c->phase != CONN_OPEN || c->tx_mid_frame)
                return;
        if (c->frame && c->frame->pong_due) {
                size_t n = wsframe_encode_head(frame, true, WS_PONG, c->frame->len, NULL);
                memcpy(frame + n, c->frame->data, c->frame->len);
                n += c->frame->len;
                free(c->frame);
                c->frame = NULL;
                conn_write(c, frame, n);
        }
        if (c->ping_due && c->phase == CONN_OPEN) {
                c->ping_due = false;
                c->ping_sent = wants_read(c);
                c->ping_behind = conn_has_output(c) || socket_unacknowledged(c) > 0;
                c->alive = false;
                list_ping(c);
                conn_write(c, frame, wsframe_encode_head(frame, true, WS_PING, 0, NULL));
        }
}

void conn_flush_control(Conn *c)
{
        if (!conn_has_output(c))
                conn_insert_control(c);
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
                        if (c->phase == CONN_OPEN && c->spliced)
                                link_active(c->link);
                }
                if (!conn_has_output(c))
                        drained(c);
        }
        conn_update_watch(c);
}

/* ---- in ---- */

static void on_end(Conn *c)
{
        if (c->phase != CONN_CLOSING || !conn_has_output(c)) {
                conn_drop(c);
                return;
        }
        c->read_on_end = true; /* what is queued still goes out */
        conn_update_watch(c);
}

/* false: there was nothing, or nothing more will come. */
static bool read_some(Conn *c)
{
        uint8_t *data = c->relay->read_buffer + WSFRAME_HEAD_MAX;
        ssize_t n = socket_read(c, data, READ_BYTES);

        if (n == -EAGAIN)
                return false;
        if (n < 0) {
                conn_drop(c);
                return false;
        }
        if (n == 0) {
                on_end(c);
                return false;
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
                conn_discard_frames(c, data, (size_t)n);
                break;
        case CONN_DEAD:
                break;
        }
        conn_update_watch(c);
        return c->phase != CONN_DEAD;
}

void conn_on_readable(Conn *c)
{
        /* A write of the same turn may have found that it must not be read now. */
        if (c->phase != CONN_DEAD && wants_read(c))
                (void)read_some(c); /* the loop tells when there is more */
}

void conn_on_failed(Conn *c)
{
        /* What came before the failure is still delivered. */
        while (c->phase == CONN_OPEN && wants_read(c) && read_some(c))
                ;
        if (c->phase != CONN_OPEN || wants_read(c)) {
                conn_drop(c);
                return;
        }
        /* Later: a frame is held, or the other end has to take what waits for it. */
        c->tx_broken = true;
        drop_output(c);
        splice_resume(link_other_end(c));
        conn_update_watch(c);
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
 * ends judges it. So does the kernel (USER_TIMEOUT_MSEC) one whose ping is still behind other bytes
 * there. */
static bool is_mute(const Conn *c)
{
        return c->ping_sent && !c->alive && wants_read(c) && !conn_has_output(c) &&
               !(c->ping_behind && socket_unacknowledged(c) > 0);
}

static void ping(Conn *c)
{
        if (is_mute(c)) {
                conn_drop(c);
                return;
        }
        c->ping_sent = false;
        c->ping_due = true;
        list_ping(c);
        conn_flush_control(c);
}

static void sweep_pings(Relay *r, uint64_t now_msec)
{
        Conn *c;

        while ((c = TAILQ_FIRST(&r->pings)) && now_msec - c->ping_msec >= PING_MSEC)
                ping(c);
}

static void stalled(Conn *c, uint64_t now_msec)
{
        size_t unacknowledged = socket_unacknowledged(c);

        if (unacknowledged <
            c->stall_bytes)               /* it takes something, though too little for the loop */
                c->stall_msec = now_msec; /* to be told */
        leave_stalls(c);
        list_stall(c, unacknowledged);
        if (now_msec - c->stall_msec < STALL_MSEC)
                return;
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
        while ((c = TAILQ_FIRST(&r->stalls)) && now_msec - c->look_msec >= STALL_LOOK_MSEC)
                stalled(c, now_msec);
}
