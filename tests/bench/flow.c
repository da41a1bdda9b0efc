#include "limits.h"
#include "measure.h"
#include "scenario.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* One direction of a link. */
typedef struct Stream {
        int from, to;
        size_t at;               /* where in the frames */
        uint64_t sent, received; /* bytes */
        bool ending;             /* only the frame that is under way is still sent */
} Stream;

typedef struct Flow {
        Frames frames;
        Stream *streams;
        size_t n;
        int epoll;
} Flow;

enum { SENDER = 1, EVENTS = 64 };

static void watch(const Flow *f, int fd, uint32_t events, size_t index, unsigned sender)
{
        struct epoll_event e = {.events = events, .data.u64 = index * 2 + sender};

        if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
                fatal("epoll: %s", strerror(errno));
}

static void flow_init(Flow *f, const Plan *p, const BenchLink *links)
{
        *f = (Flow){.n = p->count, .epoll = epoll_create1(EPOLL_CLOEXEC)};
        f->streams = calloc(f->n, sizeof(*f->streams));
        if (f->epoll < 0 || !f->streams)
                fatal("no epoll, or out of memory");
        frames_init(&f->frames, &p->subject, p->size);
        for (size_t i = 0; i < f->n; i++) {
                f->streams[i] = (Stream){.from = links[i].client, .to = links[i].host};
                frames_check(&f->frames, links[i].client, links[i].host);
                watch(f, links[i].client, EPOLLOUT, i, SENDER);
                watch(f, links[i].host, EPOLLIN, i, 0);
        }
}

static void flow_done(Flow *f)
{
        frames_done(&f->frames);
        free(f->streams);
        (void)close(f->epoll); /* nothing can be done about a failure */
}

static void stop_watching(const Flow *f, int fd)
{
        if (epoll_ctl(f->epoll, EPOLL_CTL_DEL, fd, NULL) < 0)
                fatal("epoll: %s", strerror(errno));
}

static void on_writable(const Flow *f, Stream *s)
{
        size_t of_frame = s->at % f->frames.sent;
        size_t left = f->frames.len - s->at;
        ssize_t n;

        if (s->ending)
                left = of_frame ? f->frames.sent - of_frame : 0;
        n = left ? send(s->from, f->frames.bytes + s->at, left, MSG_NOSIGNAL) : 0;
        if (n < 0 && errno != EAGAIN)
                fatal("a sender is closed: %s", strerror(errno));
        if (n > 0) {
                s->sent += (uint64_t)n;
                s->at = (s->at + (size_t)n) % f->frames.len;
        }
        if (s->ending && n == (ssize_t)left)
                stop_watching(f, s->from);
}

/* MSG_TRUNC: the kernel counts what has come and drops it, so that receiving costs our core
 * nothing. */
static void on_readable(Stream *s)
{
        ssize_t n = recv(s->to, NULL, RECEIVE_BYTES, MSG_TRUNC);

        if (n == 0 || (n < 0 && errno != EAGAIN))
                fatal("a receiver is closed: %s", n < 0 ? strerror(errno) : "end");
        if (n > 0)
                s->received += (uint64_t)n;
}

static void turn(Flow *f)
{
        struct epoll_event events[EVENTS];
        int n = epoll_wait(f->epoll, events, EVENTS, 10);

        for (int i = 0; i < n; i++) {
                Stream *s = &f->streams[events[i].data.u64 / 2];

                if (events[i].data.u64 & SENDER)
                        on_writable(f, s);
                else
                        on_readable(s);
        }
}

static void run_for(Flow *f, unsigned msec)
{
        uint64_t end = now_msec() + msec;

        while (now_msec() < end)
                turn(f);
}

static uint64_t received(const Flow *f)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < f->n; i++)
                sum += f->streams[i].received;
        return sum;
}

/* Whether all that was sent has arrived. A relay may have added its ping, of 2 bytes. */
static bool is_complete(const Flow *f, const Stream *s)
{
        uint64_t want = s->sent / f->frames.sent * f->frames.arrives;

        return s->sent % f->frames.sent == 0 &&
               (s->received == want || s->received == want + 2 || s->received == want + 4);
}

/* Ends every stream at a frame's boundary, and sees that nothing was lost or made up. */
static void finish(Flow *f)
{
        uint64_t limit = now_msec() + WAIT_MSEC;
        size_t complete = 0;

        for (size_t i = 0; i < f->n; i++)
                f->streams[i].ending = true;
        while (complete < f->n) {
                turn(f);
                complete = 0;
                for (size_t i = 0; i < f->n; i++)
                        complete += is_complete(f, &f->streams[i]);
                if (now_msec() > limit)
                        fatal("of %zu streams only %zu are complete", f->n, complete);
        }
}

void scenario_flow(const Plan *p)
{
        uint64_t bytes, cpu, own, at;
        double seconds, messages, gigabytes;
        BenchLink *links;
        int control;
        Flow f;

        links = links_open(&p->subject, p->count, &control);
        flow_init(&f, p, links);
        run_for(&f, p->warm_msec);
        bytes = received(&f);
        cpu = cpu_nsec(p->subject.pid);
        own = cpu_nsec(getpid());
        at = now_nsec();
        run_for(&f, p->msec);
        seconds = (double)(now_nsec() - at) / 1e9;
        cpu = cpu_nsec(p->subject.pid) - cpu;
        own = cpu_nsec(getpid()) - own;
        bytes = received(&f) - bytes;
        finish(&f);
        messages = (double)bytes / (double)f.frames.arrives;
        gigabytes = messages * (double)p->size / 1e9;
        flow_done(&f);
        links_close(links, p->count, control);
        printf("{\"messages_per_sec\":%.0f,\"gb_per_sec\":%.3f,\"cpu_sec_per_gb\":%.4f,"
               "\"core\":%.3f,\"generator_core\":%.3f,\"messages_per_cpu_sec\":%.0f}\n",
               messages / seconds, gigabytes / seconds, (double)cpu / 1e9 / gigabytes,
               (double)cpu / 1e9 / seconds, (double)own / 1e9 / seconds,
               messages / ((double)cpu / 1e9));
}
