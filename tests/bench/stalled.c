#include "limits.h"
#include "measure.h"
#include "scenario.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

enum { PINGPONG_BYTES = 128, QUIET_MSEC = 300, NAP_MSEC = 5, OWN_BUFFER_BYTES = 64 * 1024 };

typedef struct Flood {
        Frames frames;
        const BenchLink *links;
        size_t n;
        size_t *at; /* where in the frames each is */
        uint64_t sent;
} Flood;

/* Gives each sender's socket what it takes. Bytes. */
static uint64_t push(Flood *f)
{
        uint64_t before = f->sent;

        for (size_t i = 0; i < f->n; i++) {
                ssize_t n = send(f->links[i].client, f->frames.bytes + f->at[i],
                                 f->frames.len - f->at[i], MSG_NOSIGNAL);

                if (n < 0 && errno != EAGAIN)
                        fatal("a flooding sender is closed: %s", strerror(errno));
                if (n > 0) {
                        f->sent += (uint64_t)n;
                        f->at[i] = (f->at[i] + (size_t)n) % f->frames.len;
                }
        }
        return f->sent - before;
}

/* Until no socket takes more. */
static void push_until_quiet(Flood *f)
{
        const struct timespec nap = {.tv_nsec = NAP_MSEC * 1000000};
        uint64_t limit = now_msec() + WAIT_MSEC, moved = now_msec();

        while (now_msec() - moved < QUIET_MSEC) {
                if (push(f) > 0)
                        moved = now_msec();
                else
                        (void)nanosleep(&nap, NULL); /* shorter is as good */
                if (now_msec() > limit)
                        fatal("what nobody takes is read without an end");
        }
}

/* Small buffers of our own: what is sent waits at the subject then, or in its sockets. */
static void limit_buffers(const BenchLink *l)
{
        int bytes = OWN_BUFFER_BYTES;

        if (setsockopt(l->client, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0 ||
            setsockopt(l->host, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0)
                fatal("setsockopt: %s", strerror(errno));
}

void scenario_stalled(const Plan *p)
{
        uint64_t rss, grown;
        PingPong alone, beside;
        BenchLink *links;
        int control;
        Flood f = {.n = p->count};

        links = links_open(&p->subject, p->count + 1, &control);
        f.links = links + 1;
        f.at = calloc(f.n, sizeof(*f.at));
        if (!f.at)
                fatal("out of memory");
        for (size_t i = 0; i < f.n; i++)
                limit_buffers(&f.links[i]);
        frames_init(&f.frames, &p->subject, p->size);
        (void)pingpong_run(&p->subject, links, PINGPONG_BYTES, p->warm_msec);
        alone = pingpong_run(&p->subject, links, PINGPONG_BYTES, p->msec);
        rss = rss_bytes(p->subject.pid);
        push_until_quiet(&f);
        beside = pingpong_run(&p->subject, links, PINGPONG_BYTES, p->msec);
        (void)push(&f); /* they still are */
        grown = MAX(rss_bytes(p->subject.pid), rss) - rss;
        links_close(links, p->count + 1, control);
        printf("{\"rss_bytes_per_link\":%.0f,\"sent_bytes_per_link\":%.0f,"
               "\"alone_p50_usec\":%.2f,\"alone_p99_usec\":%.2f,\"p50_usec\":%.2f,"
               "\"p99_usec\":%.2f}\n",
               (double)grown / (double)f.n, (double)f.sent / (double)f.n, alone.p50_usec,
               alone.p99_usec, beside.p50_usec, beside.p99_usec);
        frames_done(&f.frames);
        free(f.at);
}
