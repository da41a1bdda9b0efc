/* Payload: re-framed where it lies in the read buffer and sent on in one write.
 *
 *   in    [head mask][payload.......][head mask][payload...        (masked, from c)
 *   out   [head][payload.......][head][payload...                  (unmasked, to the other end)
 *
 * The out form is never longer than the in form, so it is made in place; only a header that came in
 * an earlier read needs the room before the data. A frame is charged at its header; if it must
 * wait, what was read behind the header is kept in c->in and c is not read until it is due. */
#include "relay-internal.h"

typedef struct Run {
        uint8_t *out, *end; /* what goes to the other end */
} Run;

static void add_head(Conn *c, Conn *to, Run *run)
{
        run->end += wsframe_encode_head(run->end, c->rx.fin, c->rx.opcode, c->rx.left, NULL);
        to->tx_mid_frame = true;
}

/* Unmasked on its way to where the out form has it. */
static void add_data(Conn *c, Run *run, const uint8_t *p, size_t n)
{
        Link *l = c->link;

        wsreceiver_unmask_to(&c->rx, run->end, p, n);
        run->end += n;
        *(l->client == c ? &l->from_client : &l->from_host) += n;
        *(l->client == c ? &c->relay->stats.from_client : &c->relay->stats.from_host) += n;
}

/* Sends what was made. false: c is not open any more. */
static bool forward(Conn *c, Run *run)
{
        Conn *to = link_other_end(c);

        if (run->end > run->out)
                link_active(c->link); /* pings and pongs are no traffic */
        conn_write(to, run->out, (size_t)(run->end - run->out));
        run->end = run->out;
        if (c->phase == CONN_OPEN)
                conn_insert_control(to);
        return c->phase == CONN_OPEN;
}

/* A data frame's header. false: it is held. */
static bool on_head(Conn *c, Conn *to, Run *run)
{
        Relay *r = c->relay;
        uint64_t hold = link_charge(c->link, c->rx.left);

        if (hold == 0) {
                add_head(c, to, run);
                return true;
        }
        c->held = true;
        wheel_add(&r->wheel, &c->hold, relay_now_msec(r) + hold);
        if (!uv_is_active((uv_handle_t *)&r->holds))
                (void)uv_timer_again(&r->holds); /* it has a repeat: cannot fail */
        return false;
}

/* One event. false: stop here. */
static bool step(Conn *c, Run *run, int event, uint8_t *p, size_t n)
{
        Conn *to = link_other_end(c);
        bool control = wsframe_is_control(c->rx.opcode);

        switch ((WsEvent)event) {
        case WS_EVENT_MORE:
                return false;
        case WS_EVENT_HEAD:
                return control || on_head(c, to, run);
        case WS_EVENT_DATA:
                if (control) {
                        wsreceiver_unmask_to(&c->rx, p, p, n);
                        return conn_control_data(c, p, n);
                }
                add_data(c, run, p, n);
                return true;
        case WS_EVENT_END:
                if (!control) {
                        to->tx_mid_frame = false;
                        /* Here, since a stream's reads hardly ever end at a frame's boundary. */
                        return !conn_has_control(to) || forward(c, run);
                }
                /* A close ends the link: what came before it goes first. */
                return (c->rx.opcode != WS_CLOSE || forward(c, run)) && conn_control_frame(c);
        }
        return false;
}

/* Takes frames from data until its end, a hold, or the end of c. Returns how much was used. */
static size_t run_frames(Conn *c, uint8_t *data, size_t len)
{
        Run run = {.out = data - WSFRAME_HEAD_MAX, .end = data - WSFRAME_HEAD_MAX};
        size_t at = 0, offset = 0, n = 0;
        int event;

        if (c->head_due) {
                c->head_due = false;
                add_head(c, link_other_end(c), &run);
        }
        do
                event = wsreceiver_next_raw(&c->rx, data, len, &at, LINK_MESSAGE_MAX, &offset, &n);
        while (event >= 0 && step(c, &run, event, data + offset, n));
        if (c->phase == CONN_OPEN && forward(c, &run) && event < 0) {
                c->rx_broken = true;
                conn_close(c, event == -EMSGSIZE ? WS_CLOSE_TOO_BIG : WS_CLOSE_PROTOCOL);
        }
        return at;
}

void splice_bytes(Conn *c, uint8_t *data, size_t len)
{
        static const uint8_t room[WSFRAME_HEAD_MAX];
        size_t used = run_frames(c, data, len);

        if (c->phase != CONN_OPEN) {
                c->rx_broken = true; /* the rest is not looked at */
                return;
        }
        if (c->held && used < len) {
                buf_add(&c->in, room, sizeof(room));
                buf_add(&c->in, data + used, len - used);
                if (buf_ok(&c->in) < 0) {
                        conn_drop(c);
                        return;
                }
                c->in_off = sizeof(room);
                c->relay->stats.queued_bytes += c->in.len;
        }
        conn_update_watch(c);
}

void splice_resume(Conn *c)
{
        Buf kept = c->in;
        size_t used;

        if (c->phase != CONN_OPEN || c->held || conn_has_output(link_other_end(c)))
                return;
        if (!c->head_due && kept.len == 0) {
                conn_update_watch(c);
                return;
        }
        if (kept.len == 0) {
                uint8_t room[WSFRAME_HEAD_MAX];

                (void)run_frames(c, room + sizeof(room), 0); /* the held header alone */
        } else {
                size_t off = c->in_off;

                c->in = (Buf){}; /* closing c must not free what is being read */
                c->in_off = 0;
                used = run_frames(c, kept.data + off, kept.len - off);
                if (c->phase != CONN_OPEN)
                        c->rx_broken = true;
                if (c->phase == CONN_OPEN && off + used < kept.len) {
                        c->in = kept;
                        c->in_off = off + used;
                } else {
                        c->relay->stats.queued_bytes -= kept.len;
                        buf_done(&kept);
                }
        }
        conn_update_watch(c);
}

void splice_holds(Relay *r, uint64_t now_msec)
{
        WheelEntry *e;

        while ((e = wheel_take_due(&r->wheel, now_msec))) {
                Conn *c = container_of(e, Conn, hold);

                c->held = false;
                c->head_due = true;
                link_active(c->link);
                splice_resume(c);
        }
        if (r->wheel.n == 0)
                (void)uv_timer_stop(&r->holds); /* never fails */
}
