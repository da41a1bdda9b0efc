#include "sim.h"

#include <errno.h>
#include <netinet/in.h>
#include <sodium.h>
#include <time.h>

#include "relay/socket.h"
#include "tests/fuzz/fuzz.h"

enum { FD_BASE = 1000000, TIMERS = 4, START_MSEC = 1000, READS = 64 };

#define WALL_BASE_MSEC INT64_C(1790000000000)

typedef struct SimTimer {
        uv_timer_t *handle; /* NULL: free */
        uv_timer_cb func;
        uv_close_cb closing;
        bool active;
        uint64_t due_msec, repeat_msec;
} SimTimer;

Sim sim;
static SimTimer timers[TIMERS];

/* ---- randomness ---- */

static const char *random_name(void)
{
        return "sim";
}

static uint32_t random_word(void)
{
        sim.seed = sim.seed * 1664525 + 1013904223;
        return sim.seed ^ sim.seed >> 16;
}

static void random_bytes(void *const p, const size_t n)
{
        for (size_t i = 0; i < n; i++)
                ((uint8_t *)p)[i] = (uint8_t)random_word();
}

void sim_start(void)
{
        static randombytes_implementation implementation = {
                .implementation_name = random_name, .random = random_word, .buf = random_bytes};

        CHECK(randombytes_set_implementation(&implementation) == 0);
        CHECK(sodium_init() >= 0);
}

/* ---- memory: the relay's own allocations, renamed by the build ---- */

void *sim_malloc(size_t n);
void *sim_calloc(size_t n, size_t size);

static bool memory_fails(void)
{
        if (sim.fails_in == 0 || --sim.fails_in > 0)
                return false;
        sim.starved = true;
        return true;
}

void *sim_malloc(size_t n)
{
        return memory_fails() ? NULL : malloc(n);
}

void *sim_calloc(size_t n, size_t size)
{
        return memory_fails() ? NULL : calloc(n, size);
}

/* ---- clocks ---- */

int sim_clock_gettime(clockid_t clock, struct timespec *ts);

/* relay.c's clock_gettime(): renamed by the build. */
int sim_clock_gettime(clockid_t clock, struct timespec *ts)
{
        int64_t msec = WALL_BASE_MSEC + (int64_t)sim.now_msec;

        CHECK(clock == CLOCK_REALTIME);
        *ts = (struct timespec){.tv_sec = msec / 1000, .tv_nsec = msec % 1000 * 1000000};
        return 0;
}

static SimTimer *timer_of(const uv_handle_t *handle)
{
        for (size_t i = 0; i < TIMERS; i++)
                if ((uv_handle_t *)timers[i].handle == handle)
                        return &timers[i];
        CHECK(!"a timer that was initialised");
        return NULL;
}

uint64_t uv_now(const uv_loop_t *loop)
{
        (void)loop;
        return sim.now_msec;
}

void uv_update_time(uv_loop_t *loop)
{
        (void)loop;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *handle)
{
        SimTimer *t = timer_of(NULL);

        (void)loop;
        *t = (SimTimer){.handle = handle};
        return 0;
}

int uv_timer_start(uv_timer_t *handle, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
        SimTimer *t = timer_of((uv_handle_t *)handle);

        CHECK(!t->closing);
        t->func = cb;
        t->repeat_msec = repeat;
        t->due_msec = sim.now_msec + timeout;
        t->active = true;
        return 0;
}

int uv_timer_again(uv_timer_t *handle)
{
        SimTimer *t = timer_of((uv_handle_t *)handle);

        CHECK(t->func && t->repeat_msec && !t->closing);
        t->due_msec = sim.now_msec + t->repeat_msec;
        t->active = true;
        return 0;
}

int uv_timer_stop(uv_timer_t *handle)
{
        timer_of((uv_handle_t *)handle)->active = false;
        return 0;
}

int uv_is_active(const uv_handle_t *handle)
{
        return timer_of(handle)->active;
}

int uv_is_closing(const uv_handle_t *handle)
{
        return timer_of(handle)->closing != NULL;
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
        SimTimer *t = timer_of(handle);

        CHECK(!t->closing && cb);
        sim.touched = true;
        t->closing = cb;
        t->active = false;
}

/* Listeners are not simulated. */
int uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd)
{
        (void)loop;
        (void)handle;
        (void)fd;
        return -ENOTSUP;
}

int uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb)
{
        (void)handle;
        (void)events;
        (void)cb;
        return -ENOTSUP;
}

int uv_poll_stop(uv_poll_t *handle)
{
        (void)handle;
        return -ENOTSUP;
}

static void fire(SimTimer *t)
{
        t->due_msec = sim.now_msec + t->repeat_msec;
        t->func(t->handle);
}

void sim_advance(uint64_t msec, void (*between)(void))
{
        uint64_t end = sim.now_msec + msec;

        for (;;) {
                SimTimer *first = NULL;

                for (size_t i = 0; i < TIMERS; i++)
                        if (timers[i].active && timers[i].due_msec <= end &&
                            (!first || timers[i].due_msec < first->due_msec))
                                first = &timers[i];
                if (!first)
                        break;
                sim.now_msec = MAX(sim.now_msec, first->due_msec);
                sim.touched = false;
                fire(first);
                if (!sim.touched)
                        continue;
                sim_run();
                if (between)
                        between();
        }
        sim.now_msec = end;
}

void sim_jump(uint64_t msec)
{
        sim.now_msec += msec;
        for (size_t i = 0; i < TIMERS; i++)
                if (timers[i].active && timers[i].due_msec <= sim.now_msec)
                        fire(&timers[i]);
        sim_run();
}

/* ---- sockets: the relay's side (relay/socket.h) ---- */

static SimSocket *socket_of(const Conn *c)
{
        size_t n = (size_t)(c->fd - FD_BASE);

        CHECK(n < SIM_SOCKETS && sim.sockets[n].conn == c);
        sim.touched = true;
        return &sim.sockets[n];
}

int socket_init(Conn *c)
{
        SimSocket *s = &sim.sockets[c->fd - FD_BASE];

        CHECK(!s->conn);
        s->conn = c;
        return 0;
}

void socket_watch(Conn *c, int events)
{
        CHECK(socket_of(c));
        c->watched = events;
}

ssize_t socket_read(Conn *c, void *p, size_t n)
{
        SimSocket *s = socket_of(c);
        size_t left = s->in.len - s->in_off;
        /* Many small reads, but not a hundred thousand of them. */
        size_t len = MIN(MIN(n, MAX(s->chunk, left / READS)), left);

        if (len) {
                memcpy(p, s->in.data + s->in_off, len);
                s->in_off += len;
                return (ssize_t)len;
        }
        return s->failed ? -ECONNRESET : s->ended ? 0 : -EAGAIN;
}

ssize_t socket_write(Conn *c, const void *p, size_t n)
{
        SimSocket *s = socket_of(c);
        size_t room = s->cap - MIN(s->cap, s->out.len);

        CHECK(!s->shut && n > 0);
        if (s->failed)
                return -EPIPE;
        if (room == 0)
                return -EAGAIN;
        n = MIN(n, room);
        buf_add(&s->out, p, n);
        CHECK(buf_ok(&s->out) == 0);
        return (ssize_t)n;
}

size_t socket_unacknowledged(const Conn *c)
{
        return socket_of(c)->out.len;
}

void socket_shutdown(Conn *c)
{
        socket_of(c)->shut = true;
}

void socket_close(Conn *c, void (*func)(Conn *c))
{
        SimSocket *s = socket_of(c);

        /* An end of a link whose socket has failed is read out, even so. */
        CHECK(!s->failed || s->failed_msec < sim.now_msec || s->in_off == s->in.len ||
              !c->spliced || c->close_code || sim.starved);
        s->closing = c;
        s->on_closed = func;
        s->conn = NULL;
        c->fd = -1;
}

/* ---- sockets: the peer's side ---- */

void sim_open(size_t n, Relay *r, uint8_t ip)
{
        const struct sockaddr_in in = {.sin_family = AF_INET,
                                       .sin_addr = {htonl(0x0a000000u + ip)}};
        SimSocket *s = &sim.sockets[n];

        CHECK(!s->in_use);
        *s = (SimSocket){.in_use = true, .chunk = SIZE_MAX, .cap = 64 * 1024};
        s->in_use =
                conn_new(r, FD_BASE + (int)n, (const struct sockaddr *)&in) == 0; /* or refused */
}

void sim_fail(size_t n)
{
        sim.sockets[n].failed = true;
        sim.sockets[n].failed_msec = sim.now_msec;
}

bool sim_feed(size_t n, const void *p, size_t len)
{
        SimSocket *s = &sim.sockets[n];

        if (s->in_off == s->in.len)
                s->in.len = s->in_off = 0;
        if (s->in.len + len > SIM_IN_MAX || s->ended || s->failed)
                return false;
        buf_add(&s->in, p, len);
        CHECK(buf_ok(&s->in) == 0);
        return true;
}

size_t sim_take(size_t n, uint8_t *out, size_t len)
{
        SimSocket *s = &sim.sockets[n];

        len = MIN(len, s->out.len);
        if (len)
                memcpy(out, s->out.data, len);
        buf_drop(&s->out, len);
        return len;
}

bool sim_at_end(size_t n)
{
        const SimSocket *s = &sim.sockets[n];

        return (!s->conn || s->shut) && s->out.len == 0;
}

/* ---- events ---- */

/* What libuv would tell, as relay/socket.c passes it on. */
static bool deliver(SimSocket *s)
{
        Conn *c = s->conn;
        bool readable = s->in_off < s->in.len || s->ended || s->failed;

        if (!c || !c->watched)
                return false;
        if (s->failed && !(c->watched & UV_WRITABLE)) { /* else the write finds out */
                c->watched = 0;
                conn_on_failed(c);
                return true;
        }
        readable = readable && (c->watched & UV_READABLE);
        if (c->watched & UV_WRITABLE && (s->out.len < s->cap || s->failed))
                conn_on_writable(c);
        else if (!readable)
                return false;
        if (readable && s->conn)
                conn_on_readable(c);
        return true;
}

static void call_back_closed(void)
{
        for (size_t i = 0; i < SIM_SOCKETS; i++) {
                SimSocket *s = &sim.sockets[i];

                if (!s->closing)
                        continue;
                Conn *c = s->closing;
                s->closing = NULL;
                s->on_closed(c);
        }
        for (size_t i = 0; i < TIMERS; i++) {
                uv_close_cb func = timers[i].closing;
                uv_handle_t *handle = (uv_handle_t *)timers[i].handle;

                if (func) {
                        timers[i] = (SimTimer){};
                        func(handle);
                }
        }
}

void sim_run(void)
{
        bool any = true;

        /* Each event takes a byte, makes room for one or ends something; a spin would not. */
        for (unsigned long n = 0; any; n++) {
                CHECK(n < 4 * SIM_IN_MAX);
                any = false;
                for (size_t i = 0; i < SIM_SOCKETS; i++)
                        any = deliver(&sim.sockets[i]) || any;
        }
        call_back_closed();
}

void sim_reset(void)
{
        sim = (Sim){.now_msec = START_MSEC, .seed = 1};
}

void sim_done(void)
{
        for (size_t i = 0; i < TIMERS; i++)
                CHECK(!timers[i].handle);
        for (size_t i = 0; i < SIM_SOCKETS; i++) {
                CHECK(!sim.sockets[i].conn && !sim.sockets[i].closing);
                buf_done(&sim.sockets[i].in);
                buf_done(&sim.sockets[i].out);
        }
}
