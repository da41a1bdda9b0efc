#include "limits.h"
#include "measure.h"
#include "peer.h"
#include "scenario.h"

#include <stdio.h>

/* Spins: sleeping would measure our own waking as well. */
static void await_frame(FrameReader *r)
{
        uint64_t limit = now_msec() + WAIT_MSEC;

        while (!frame_arrived(r))
                if (now_msec() > limit)
                        fatal("a message does not come");
}

PingPong pingpong_run(const Subject *s, const BenchLink *l, size_t size, unsigned msec)
{
        _cleanup_(freep) uint32_t *samples = calloc(SAMPLES_MAX, sizeof(*samples));
        FrameReader client = {.fd = l->client}, host = {.fd = l->host};
        uint64_t end = now_nsec() + (uint64_t)msec * 1000000, at;
        PingPong result = {};
        Frames f;

        if (!samples)
                fatal("out of memory");
        frames_init(&f, s, size);
        while (result.n < SAMPLES_MAX && (at = now_nsec()) < end) {
                peer_send(l->client, f.bytes, f.sent);
                await_frame(&host);
                peer_send(l->host, f.bytes, f.sent);
                await_frame(&client);
                samples[result.n++] = (uint32_t)MIN(now_nsec() - at, (uint64_t)UINT32_MAX);
        }
        frames_done(&f);
        result.p50_usec = quantile(samples, result.n, 0.5) / 1000;
        result.p99_usec = quantile(samples, result.n, 0.99) / 1000;
        return result;
}

void scenario_pingpong(const Plan *p)
{
        BenchLink *links;
        PingPong r;
        uint64_t cpu;
        int control;

        links = links_open(&p->subject, 1, &control);
        (void)pingpong_run(&p->subject, links, p->size, p->warm_msec);
        cpu = cpu_nsec(p->subject.pid);
        r = pingpong_run(&p->subject, links, p->size, p->msec);
        cpu = cpu_nsec(p->subject.pid) - cpu;
        links_close(links, 1, control);
        printf("{\"p50_usec\":%.2f,\"p99_usec\":%.2f,\"round_trips\":%zu,"
               "\"cpu_usec_per_round_trip\":%.2f}\n",
               r.p50_usec, r.p99_usec, r.n, (double)cpu / 1000 / (double)r.n);
}
