#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "relay-internal.h"

int64_t relay_wall_msec(void)
{
        struct timespec ts;

        if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
                return 0; /* cannot happen; then no register is valid */
        return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void relay_log(Relay *r, RelayLogLevel level, const char *event, const char *format, ...)
{
        char text[512];
        va_list ap;

        if (!r->config.log)
                return;
        va_start(ap, format);
        (void)vsnprintf(text, sizeof(text), format, ap); /* cut is fine */
        va_end(ap);
        r->config.log(level, event, text, r->config.log_data);
}

/* ---- refusals ---- */

static const struct {
        RelayLogLevel level;
        const char *text;
} refusals[N_REFUSALS] = {
        [REFUSED_CONNECTIONS] =
                {RELAY_LOG_WARNING,
                 "the connections are at their limit (max_connections, LimitNOFILE=)"},
        [REFUSED_IP_CONNECTIONS] = {RELAY_LOG_INFO, "an address is at max_connections_per_ip"},
        [REFUSED_IP_ACCEPTS] = {RELAY_LOG_INFO,
                                "an address connects more often than accepts_per_sec_per_ip"},
        [REFUSED_DESCRIPTORS] = {RELAY_LOG_WARNING,
                                 "no descriptor is free: connections wait (raise LimitNOFILE=)"},
        [REFUSED_MEMORY] = {RELAY_LOG_ERROR, "out of memory, or a table is full"},
        [REFUSED_HEADS] = {RELAY_LOG_WARNING, "too many connections have sent no request yet"},
        [REFUSED_QUEUES] =
                {RELAY_LOG_WARNING,
                 "queues are at max_queue_bytes: nobody is introduced until they shrink"},
        [REFUSED_BUDGET] = {RELAY_LOG_INFO, "an address has spent ip_rate_per_min"},
        [REFUSED_AUTH] = {RELAY_LOG_INFO, "a register was not signed as it must be"},
        [REFUSED_ALLOWLIST] = {RELAY_LOG_INFO, "a register's key is not on the allowlist"},
        [REFUSED_STALE] = {RELAY_LOG_INFO, "a register came late or twice"},
        [REFUSED_ADDRESS] = {RELAY_LOG_DEBUG, "an address that is not registered was asked for"},
        [REFUSED_LINK] = {RELAY_LOG_DEBUG, "a link that is not pending was accepted"},
};

void relay_count_refusal(Relay *r, Refusal why)
{
        uint64_t now = relay_now_msec(r), *last = &r->complained_msec[why];

        r->stats.refusals[why]++;
        if (*last && now - *last < LOG_REPEAT_MSEC)
                return;
        *last = MAX(now, 1u);
        relay_log(r, refusals[why].level, "refused", "%s (%llu so far)", refusals[why].text,
                  (unsigned long long)r->stats.refusals[why]);
}

Refusal relay_refusal_of(int err)
{
        return err == -EUSERS  ? REFUSED_IP_CONNECTIONS
               : err == -EBUSY ? REFUSED_IP_ACCEPTS
                               : REFUSED_MEMORY;
}

bool relay_has_room(const Relay *r)
{
        return r->n_conns < r->max_connections;
}

/* A descriptor each; a few are for other things. */
static void set_max_connections(Relay *r)
{
        struct rlimit files = {.rlim_cur = RESERVED_FILES};

        (void)getrlimit(RLIMIT_NOFILE, &files); /* cannot fail */
        r->max_connections = files.rlim_cur > RESERVED_FILES ? files.rlim_cur - RESERVED_FILES : 1;
        if (r->config.max_connections)
                r->max_connections = MIN(r->max_connections, r->config.max_connections);
}

/* ---- stopping ---- */

void relay_check_stopped(Relay *r)
{
        RelayStopped func = r->stopped;

        if (!r->stopping || r->n_conns || r->n_handles || !func)
                return;
        r->stopped = NULL;
        func(r, r->stopped_data);
}

static void on_timer_closed(uv_handle_t *handle)
{
        Relay *r = handle->data;

        r->n_handles--;
        relay_check_stopped(r);
}

static void close_timers(Relay *r)
{
        if (uv_is_closing((uv_handle_t *)&r->sweep))
                return;
        uv_close((uv_handle_t *)&r->sweep, on_timer_closed);
        uv_close((uv_handle_t *)&r->holds, on_timer_closed);
}

static size_t count_open(const Relay *r)
{
        const Stats *s = &r->stats;

        return s->n_roles[0] + s->n_roles[1] + s->n_roles[2] + s->n_roles[3];
}

/* Closes as many as are due by now, so that they end evenly over the drain. */
static void drain(Relay *r, uint64_t now_msec)
{
        uint64_t left = r->stop_end_msec > now_msec ? r->stop_end_msec - now_msec : 0;
        size_t keep = r->stop_total && left ? (size_t)((double)r->stop_total * (double)left /
                                                       (double)r->stop_drain_msec)
                                            : 0;
        Conn *c, *next;

        for (c = TAILQ_FIRST(&r->all); c; c = next) {
                next = TAILQ_NEXT(c, in_all);
                if (c->phase == CONN_HEAD)
                        conn_drop(c);
                else if (c->phase == CONN_OPEN && count_open(r) > keep)
                        conn_close(c, WS_CLOSE_GOING_AWAY);
                /* Closing one may take others with it, the next one too. */
                if (next && next->phase == CONN_DEAD)
                        next = TAILQ_FIRST(&r->all);
        }
        if (now_msec >= r->stop_end_msec + STOP_LINGER_MSEC)
                while ((c = TAILQ_FIRST(&r->all)))
                        conn_drop(c);
        if (TAILQ_EMPTY(&r->all))
                close_timers(r);
}

void relay_stop(Relay *r, uint64_t drain_msec, RelayStopped func, void *userdata)
{
        uint64_t now = relay_now_msec(r);

        if (!r->stopping) {
                r->stopping = true;
                r->stopped = func;
                r->stopped_data = userdata;
                r->stop_total = count_open(r);
                listener_close_all(r);
        } else {
                drain_msec = 0;
        }
        r->stop_drain_msec = drain_msec;
        r->stop_end_msec = now + drain_msec;
        drain(r, now);
}

/* ---- clocks ---- */

static void on_sweep(uv_timer_t *timer)
{
        Relay *r = timer->data;
        uint64_t now = relay_now_msec(r);

        r->stats.lag_msec = now > r->swept_msec + SWEEP_MSEC ? now - r->swept_msec - SWEEP_MSEC : 0;
        r->stats.lag_max_msec = MAX(r->stats.lag_max_msec, r->stats.lag_msec);
        r->swept_msec = now;
        conn_sweep(r, now);
        link_sweep(r, now);
        iptable_sweep(&r->ips, now);
        listener_resume(r, now);
        if (r->stopping)
                drain(r, now);
}

static void on_holds(uv_timer_t *timer)
{
        Relay *r = timer->data;

        splice_holds(r, relay_now_msec(r));
}

/* ---- life ---- */

static int init_tables(Relay *r)
{
        int err = iptable_init(&r->ips);

        if (err == 0)
                err = replay_init(&r->replay);
        if (err == 0)
                err = hashmap_init(&r->addresses);
        if (err == 0)
                err = hashmap_init(&r->links);
        r->read_buffer = malloc(WSFRAME_HEAD_MAX + READ_BYTES);
        wheel_init(&r->wheel, relay_now_msec(r));
        TAILQ_INIT(&r->all);
        TAILQ_INIT(&r->pings);
        TAILQ_INIT(&r->stalls);
        TAILQ_INIT(&r->idle);
        TAILQ_INIT(&r->usage);
        for (size_t i = 0; i < N_DEADLINES; i++)
                TAILQ_INIT(&r->deadlines[i]);
        return err == 0 && !r->read_buffer ? -ENOMEM : err;
}

static void free_memory(Relay *r)
{
        iptable_done(&r->ips);
        replay_done(&r->replay);
        hashmap_done(&r->addresses);
        hashmap_done(&r->links);
        buf_done(&r->stats_document);
        free(r->read_buffer);
        if (r->spare_fd >= 0)
                (void)close(r->spare_fd);
        relay_config_done(&r->config);
        free(r);
}

int relay_new(Relay **ret, uv_loop_t *loop, RelayConfig *config, char **ret_fault)
{
        Relay *r = calloc(1, sizeof(*r));
        int err;

        if (!r)
                return relay_fault(ret_fault, -ENOMEM, "out of memory");
        r->loop = loop;
        r->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* without it one is refused later */
        err = init_tables(r);
        if (err < 0) {
                free_memory(r);
                return relay_fault(ret_fault, err, "out of memory");
        }
        r->config = *config;
        *config = (RelayConfig){};
        (void)uv_timer_init(loop, &r->sweep); /* neither can fail */
        (void)uv_timer_init(loop, &r->holds);
        r->sweep.data = r->holds.data = r;
        r->n_handles = 2;
        (void)uv_timer_start(&r->sweep, on_sweep, SWEEP_MSEC, SWEEP_MSEC);
        (void)uv_timer_start(&r->holds, on_holds, WHEEL_MSEC, WHEEL_MSEC);
        set_max_connections(r);
        uv_update_time(loop);
        r->swept_msec = relay_now_msec(r);
        r->stats.started_msec = relay_now_msec(r);
        *ret = r;
        return 0;
}

void relay_reconfigure(Relay *r, RelayConfig *config)
{
        relay_config_done(&r->config);
        r->config = *config;
        *config = (RelayConfig){};
        set_max_connections(r);
}

const RelayConfig *relay_config(const Relay *r)
{
        return &r->config;
}

Relay *relay_free(Relay *r)
{
        if (r)
                free_memory(r);
        return NULL;
}
