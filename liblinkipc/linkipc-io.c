/* Bytes and frames from and to the socket; the memory of a connection. */
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "linkipc-internal.h"

uint64_t now_usec(void)
{
        struct timespec ts = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail */
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- memory ---- */

static void link_free(linkipc *l)
{
        (void)close(l->fd); /* nobody could do anything about a failure */
        buf_done(&l->in);
        buf_done(&l->out);
        err_done(&l->broken);
        err_done(&l->last);
        free(l->path);
        free(l->agent);
        free(l);
}

linkipc *link_pin(linkipc *l)
{
        if (l)
                l->pins++;
        return l;
}

linkipc *link_unpin(linkipc *l)
{
        if (l && --l->pins == 0 && l->n_ref == 0)
                link_free(l);
        return NULL;
}

/* ---- the end ---- */

void link_break(linkipc *l, int error, const char *word, const char *message)
{
        if (l->broken.error != 0)
                return;
        err_set(&l->broken, error, word, message);
        (void)shutdown(l->fd, SHUT_RDWR); /* gone already is fine */
        /* The input stays: a frame of it may be in use. */
        buf_done(&l->out);
        l->out_off = 0;
}

void link_break_protocol(linkipc *l, const char *fault)
{
        char text[160];

        (void)snprintf(text, sizeof text, "the agent broke the protocol: %s",
                       fault); /* cut is fine */
        link_break(l, -EPROTO, NULL, text);
}

int link_check(linkipc *l)
{
        if (l->broken.error == 0)
                return 0;
        err_copy(&l->last, &l->broken);
        return l->broken.error;
}

/* ---- out ---- */

size_t link_out_pending(const linkipc *l)
{
        return l->out.len - l->out_off;
}

static void trim_out(linkipc *l)
{
        if (link_out_pending(l) == 0) {
                l->out.len = l->out_off = 0;
                if (l->out.cap > BUFFER_KEEP_BYTES)
                        buf_done(&l->out);
        } else if (l->out_off > OUT_TRIM_BYTES && l->out_off > link_out_pending(l)) {
                buf_drop(&l->out, l->out_off);
                l->out_off = 0;
        }
}

int link_queue(linkipc *l, IpcMessage *m)
{
        size_t before = l->out.len;

        if (l->broken.error != 0)
                return l->broken.error;
        if (l->write_dead)
                return -ECONNRESET;
        int r = ipcmsg_encode(&l->out, m);
        if (r == -ENOMEM)
                link_break(l, r, NULL, NULL);
        if (r < 0)
                return r;
        size_t n = l->out.len - before;
        if (n - 4 > l->agent_frame_max) {
                l->out.len = before;
                return -EMSGSIZE;
        }
        m->frame_len = n;
        return 0;
}

static void write_failed(linkipc *l, int error)
{
        if (error != EPIPE && error != ECONNRESET) {
                link_break(l, -error, NULL, NULL);
                return;
        }
        /* It has closed. Why, it may have said before: the reading side finds out. */
        l->write_dead = true;
        buf_done(&l->out);
        l->out_off = 0;
}

int link_write(linkipc *l)
{
        int wrote = 0;

        while (link_out_pending(l) > 0) {
                ssize_t n = send(l->fd, l->out.data + l->out_off, link_out_pending(l),
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        if (errno != EAGAIN)
                                write_failed(l, errno);
                        break;
                }
                l->out_off += (size_t)n;
                wrote = 1;
        }
        trim_out(l);
        return wrote;
}

/* ---- in ---- */

int link_read(linkipc *l)
{
        ssize_t n;

        if (l->broken.error != 0)
                return 0;
        buf_drop(&l->in, l->in_off);
        l->in_off = 0;
        if (buf_reserve(&l->in, READ_BYTES) < 0) {
                link_break(l, -ENOMEM, NULL, NULL);
                return 1;
        }
        do
                n = recv(l->fd, l->in.data + l->in.len, READ_BYTES, MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n < 0)
                link_break(l, -errno, NULL, NULL);
        else if (n == 0)
                link_break(l, -ECONNRESET, NULL,
                           l->in.len == 0 ? NULL
                                          : "the agent has ended the connection within a frame");
        else
                l->in.len += (size_t)n;
        return 1;
}

bool link_has_frame(const linkipc *l)
{
        size_t n = l->in.len - l->in_off;

        if (n < 4 || l->broken.error != 0)
                return false;
        uint32_t length = read_u32be(l->in.data + l->in_off);
        return length > IPC_FRAME_MAX || n - 4 >= length;
}

int link_peek_frame(linkipc *l, IpcMessage *ret)
{
        const char *fault = NULL;
        size_t used;

        if (l->broken.error != 0 || l->in.len == l->in_off)
                return 0;
        int r = ipcmsg_decode(l->in.data + l->in_off, l->in.len - l->in_off, true, ret, &used,
                              &fault);
        if (r < 0)
                link_break_protocol(l, fault);
        return r > 0 ? 1 : 0;
}

void link_drop_frame(linkipc *l, const IpcMessage *m)
{
        l->in_off += m->frame_len;
        if (l->in_off < l->in.len)
                return;
        l->in.len = l->in_off = 0;
        if (l->in.cap > BUFFER_KEEP_BYTES)
                buf_done(&l->in);
}

const char *link_json_text(linkipc *l, const IpcMessage *m)
{
        /* There is a header before it, at least. */
        char *text = (char *)l->in.data + (m->json.p - (const char *)l->in.data) - 1;

        memmove(text, m->json.p, m->json.n);
        text[m->json.n] = 0;
        return text;
}
