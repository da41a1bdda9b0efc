/* The loop: time-outs, frames to handlers, the end of the connection. */
#include <poll.h>

#include "linkipc-internal.h"

/* Everybody learns that the connection has ended. */
static int tell_end(linkipc *l)
{
        if (l->ended_told)
                return l->broken.error;
        l->ended_told = true;
        buf_done(&l->in); /* no frame of it is in use here */
        l->in_off = 0;
        request_finish_all(l, &l->broken);
        while (l->live)
                session_closed(l->live, &l->broken);
        return l->broken.error;
}

/* Credit that had to wait until the output had drained. */
static void give_waiting_credit(linkipc *l)
{
        if (!l->credits_waiting || link_out_pending(l) > 0)
                return;
        l->credits_waiting = false;
        for (linkipc_session *s = l->live; s; s = s->list_next)
                session_consumed(s, 0);
}

/* What callbacks have sent leaves with the last of the frames that one read brought. */
static bool process_frame(linkipc *l)
{
        IpcMessage m;

        if (link_peek_frame(l, &m) == 0)
                return false;
        dispatch_frame(l, &m);
        link_drop_frame(l, &m);
        if (!link_has_frame(l))
                (void)link_write(l); /* the next process() goes on with what is left */
        return true;
}

static bool process_timeout(linkipc *l, uint64_t now)
{
        Request *q = request_expired(l, now);

        if (q)
                request_give_up(l, q, -ETIMEDOUT);
        return q;
}

/* 1: something was done, 0: nothing. */
static int process(linkipc *l)
{
        uint64_t now = now_usec();
        int done = 0;

        if (process_timeout(l, now))
                return 1;
        if (now - l->wrote_usec >= OUT_HOLD_USEC) { /* a slow handler holds nothing up */
                done = link_write(l);
                l->wrote_usec = now;
        }
        if (process_frame(l))
                return 1;
        done |= link_write(l);
        give_waiting_credit(l);
        if (link_read(l) > 0) {
                (void)process_frame(l); /* or it is not there in whole */
                done = 1;
        }
        return done;
}

_public_ int linkipc_process(linkipc *l)
{
        if (!l)
                return -EINVAL;
        if (l->in_callback > 0)
                return link_error(l, -EBUSY, NULL);
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        int done = pinned->broken.error == 0 ? process(l) : 0;
        if (l->broken.error == 0)
                return done;
        int r = tell_end(l);
        err_copy(&l->last, &l->broken);
        return r;
}

_public_ int linkipc_get_fd(const linkipc *l)
{
        return l ? l->fd : -EINVAL;
}

_public_ int linkipc_get_events(const linkipc *l)
{
        if (!l || l->broken.error != 0)
                return 0;
        return POLLIN | (link_out_pending(l) > 0 ? POLLOUT : 0);
}

_public_ int linkipc_get_timeout(const linkipc *l, uint64_t *ret_usec)
{
        if (!l || !ret_usec)
                return -EINVAL;
        if (l->broken.error != 0)
                *ret_usec = l->ended_told ? USEC_NEVER : 0;
        else
                *ret_usec = link_has_frame(l) ? 0 : l->next_deadline_usec;
        return 0;
}

_public_ void linkipc_on_notify(linkipc *l, linkipc_notify_func func, void *userdata)
{
        if (!l)
                return;
        l->notify = func;
        l->notify_data = userdata;
}

/* ---- waiting ---- */

int link_check_blocking(linkipc *l)
{
        if (l->in_callback > 0)
                return link_error(l, -EDEADLK, NULL);
        return link_check(l);
}

/* Milliseconds for poll(2), rounded up; -1: for ever. */
static int poll_msec(uint64_t now, uint64_t until)
{
        const uint64_t most = 3600 * 1000;

        if (until == USEC_NEVER)
                return -1;
        if (until <= now)
                return 0;
        return (int)MIN((until - now + 999) / 1000, most);
}

/* 1: there is something to process; 0: the time is over. */
static int wait_until(linkipc *l, uint64_t deadline_usec)
{
        for (;;) {
                struct pollfd p = {.fd = l->fd, .events = (short)linkipc_get_events(l)};
                uint64_t due = USEC_NEVER, now = now_usec();

                (void)linkipc_get_timeout(l, &due); /* cannot fail */
                if (due <= now)
                        return 1;
                int r = poll(&p, 1, poll_msec(now, MIN(due, deadline_usec)));
                if (r < 0 && errno != EINTR)
                        return link_error(l, -errno, NULL);
                if (r > 0)
                        return 1;
                if (now_usec() >= deadline_usec)
                        return 0;
        }
}

_public_ int linkipc_wait(linkipc *l, uint32_t timeout_msec)
{
        if (!l)
                return -EINVAL;
        if (l->in_callback > 0)
                return link_error(l, -EDEADLK, NULL);
        if (l->ended_told)
                return link_check(l);
        return wait_until(l, deadline_in(timeout_msec, TIMEOUT_DEFAULT_MSEC));
}

int link_step(linkipc *l, uint64_t deadline_usec)
{
        int r = linkipc_process(l);

        if (r != 0)
                return MIN(r, 0);
        r = wait_until(l, deadline_usec);
        if (r == 0)
                return link_error(l, -ETIMEDOUT, NULL);
        return MIN(r, 0);
}
