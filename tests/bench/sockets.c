#include "limits.h"
#include "measure.h"
#include "peer.h"
#include "scenario.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PINGPONG_BYTES = 128, BASE = 64, AFTER_KILL = 200, AFTER_KILL_MSEC = 500 };

typedef struct Sockets {
        int *fds;
        size_t n;
        int epoll;
        uint64_t pings;
} Sockets;

static void sockets_open(Sockets *s, const Registration *rs, size_t n, unsigned port)
{
        *s = (Sockets){.n = n, .fds = calloc(n, sizeof(int))};
        s->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (!s->fds || s->epoll < 0)
                fatal("no epoll, or out of memory");
        registrations_open(rs, n, port, s->fds);
}

/* By a reset each (peer.c has asked for it), as fast as a process can. */
static void sockets_kill(Sockets *s)
{
        for (size_t i = 0; i < s->n; i++)
                (void)close(s->fds[i]); /* nothing can be done about a failure */
        (void)close(s->epoll);
        free(s->fds);
        *s = (Sockets){};
}

/* ---- set-up ---- */

void scenario_setup(const Plan *p)
{
        _cleanup_(freep) Registration *rs = registrations_new(p->count, p->subject.port);
        double verify = ed25519_verify_nsec(p->subject.core);
        uint64_t cpu, at, taken;
        Sockets s;

        cpu = cpu_nsec(p->subject.pid);
        at = now_nsec();
        sockets_open(&s, rs, p->count, p->subject.port);
        taken = now_nsec() - at;
        cpu = cpu_nsec(p->subject.pid) - cpu;
        sockets_kill(&s);
        printf("{\"cpu_usec\":%.2f,\"verify_usec\":%.2f,\"verifications\":%.3f,"
               "\"per_sec\":%.0f}\n",
               (double)cpu / 1000 / (double)p->count, verify / 1000,
               (double)cpu / (double)p->count / verify, (double)p->count / ((double)taken / 1e9));
}

/* ---- idle ---- */

static void answer_ping(Sockets *s, int fd)
{
        uint8_t bytes[64];
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n <= 0 || n % 2 != 0)
                fatal("an idle socket is closed");
        for (ssize_t i = 0; i < n; i += 2) {
                if (bytes[i] != (0x80 | WS_PING) || bytes[i + 1] != 0)
                        fatal("an idle socket is sent something");
                s->pings++;
                peer_send_pong(fd);
        }
}

/* Answers pings for a time. */
static void idle_for(Sockets *s, unsigned msec)
{
        uint64_t end = now_msec() + msec, now;
        struct epoll_event events[64];

        for (size_t i = 0; i < s->n; i++) {
                struct epoll_event e = {.events = EPOLLIN, .data.fd = s->fds[i]};

                if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->fds[i], &e) < 0)
                        fatal("epoll: %s", strerror(errno));
        }
        while ((now = now_msec()) < end) {
                int n = epoll_wait(s->epoll, events, 64, (int)(end - now));

                for (int i = 0; i < n; i++)
                        answer_ping(s, events[i].data.fd);
        }
}

typedef struct Kill {
        double closing_msec; /* what closing took us */
        double first_msec;   /* from the last close until a new register was answered */
        double worst_msec;   /* the slowest register after it, from its connect on */
        size_t n;
} Kill;

/* New registers one after the other, from the moment that all are closed. */
static Kill kill_and_register(Sockets *s, const Registration *rs, unsigned port)
{
        uint64_t at = now_nsec(), closed, begun, end;
        Kill k = {};
        int fds[AFTER_KILL];

        sockets_kill(s);
        closed = now_nsec();
        end = closed + (uint64_t)AFTER_KILL_MSEC * 1000000;
        k.closing_msec = (double)(closed - at) / 1e6;
        while (k.n < AFTER_KILL && (begun = now_nsec()) < end) {
                double taken;

                registrations_open(&rs[k.n], 1, port, &fds[k.n]);
                taken = (double)(now_nsec() - begun) / 1e6;
                if (k.n++ == 0)
                        k.first_msec = (double)(now_nsec() - closed) / 1e6;
                k.worst_msec = MAX(k.worst_msec, taken);
        }
        for (size_t i = 0; i < k.n; i++)
                (void)close(fds[i]);
        return k;
}

void scenario_idle(const Plan *p)
{
        const Subject *subject = &p->subject;
        size_t total = BASE + p->count + AFTER_KILL;
        _cleanup_(freep) Registration *rs = registrations_new(total, subject->port);
        uint64_t rss, cpu = 0, at;
        double core = 0, opened_sec;
        PingPong alone, beside;
        Sockets base, s;
        BenchLink *link;
        int control;
        Kill k;

        sockets_open(&base, rs, BASE, subject->port); /* what the first cost is no socket's */
        link = links_open(subject, 1, &control);
        (void)pingpong_run(subject, link, PINGPONG_BYTES, p->warm_msec);
        alone = pingpong_run(subject, link, PINGPONG_BYTES, p->msec);
        rss = rss_bytes(subject->pid);
        at = now_nsec();
        sockets_open(&s, rs + BASE, p->count, subject->port);
        opened_sec = (double)(now_nsec() - at) / 1e9;
        rss = MAX(rss_bytes(subject->pid), rss) - rss;
        beside = pingpong_run(subject, link, PINGPONG_BYTES, p->msec);
        links_close(link, 1, control);
        sockets_kill(&base);
        if (p->window_msec) {
                cpu = cpu_nsec(subject->pid);
                idle_for(&s, p->window_msec);
                core = (double)(cpu_nsec(subject->pid) - cpu) / 1e6 / p->window_msec;
        }
        at = s.pings;
        k = kill_and_register(&s, rs + BASE + p->count, subject->port);
        printf("{\"rss_bytes_per_socket\":%.0f,\"open_sec\":%.2f,\"pings\":%llu,"
               "\"ping_core\":%.5f,\"alone_p50_usec\":%.2f,\"alone_p99_usec\":%.2f,"
               "\"p50_usec\":%.2f,\"p99_usec\":%.2f,\"kill_closing_msec\":%.2f,"
               "\"kill_first_msec\":%.2f,\"kill_worst_msec\":%.2f}\n",
               (double)rss / (double)p->count, opened_sec, (unsigned long long)at, core,
               alone.p50_usec, alone.p99_usec, beside.p50_usec, beside.p99_usec, k.closing_msec,
               k.first_msec, k.worst_msec);
}
