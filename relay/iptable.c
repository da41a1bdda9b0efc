#include "iptable.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "limits.h"

int iptable_init(IpTable *t)
{
        TAILQ_INIT(&t->idle);
        return hashmap_init(&t->map);
}

static void forget(IpTable *t, IpEntry *e)
{
        TAILQ_REMOVE(&t->idle, e, idle);
        hashmap_remove(&t->map, &e->node);
        free(e);
}

void iptable_done(IpTable *t)
{
        while (!TAILQ_EMPTY(&t->idle))
                forget(t, TAILQ_FIRST(&t->idle));
        hashmap_done(&t->map);
}

static IpKey key_of_v4(const struct in_addr *a)
{
        IpKey k = {.bytes = {[10] = 0xff, [11] = 0xff}};

        memcpy(k.bytes + 12, a, 4);
        return k;
}

static IpKey key_of_v6(const struct in6_addr *a)
{
        IpKey k = {};

        memcpy(k.bytes, a, IN6_IS_ADDR_V4MAPPED(a) ? 16 : 8);
        return k;
}

IpKey ip_key_of_sockaddr(const struct sockaddr *sa)
{
        if (sa->sa_family == AF_INET) {
                struct sockaddr_in in;
                memcpy(&in, sa, sizeof(in));
                return key_of_v4(&in.sin_addr);
        }
        if (sa->sa_family == AF_INET6) {
                struct sockaddr_in6 in6;
                memcpy(&in6, sa, sizeof(in6));
                return key_of_v6(&in6.sin6_addr);
        }
        return (IpKey){};
}

int ip_key_parse(const char *text, IpKey *ret)
{
        char host[INET6_ADDRSTRLEN];
        const char *start = text + (text[0] == '['), *end;
        struct in6_addr v6;
        struct in_addr v4;
        size_t n;

        if (text[0] == '[')
                end = strchr(start, ']');
        else /* one colon: a port; several: IPv6 */
                end = strchr(text, ':') == strrchr(text, ':') ? strchr(text, ':') : NULL;
        n = end ? (size_t)(end - start) : strlen(start);
        if (n >= sizeof(host))
                return -EINVAL;
        memcpy(host, start, n);
        host[n] = '\0';
        if (inet_pton(AF_INET, host, &v4) == 1)
                *ret = key_of_v4(&v4);
        else if (inet_pton(AF_INET6, host, &v6) == 1)
                *ret = key_of_v6(&v6);
        else
                return -EINVAL;
        return 0;
}

static IpEntry *find(const IpTable *t, const IpKey *key, uint64_t hash)
{
        HASHMAP_FOREACH(node, &t->map, hash)
        {
                IpEntry *e = container_of(node, IpEntry, node);
                if (memcmp(&e->key, key, sizeof(*key)) == 0)
                        return e;
        }
        return NULL;
}

/* Loopback is where a proxy lives, through which everybody comes. */
static bool is_exempt(const IpKey *k)
{
        static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
        static const uint8_t zero[16]; /* a Unix socket, and ::1 cut to its /64 */

        return memcmp(k->bytes, zero, sizeof(zero)) == 0 ||
               (memcmp(k->bytes, mapped, sizeof(mapped)) == 0 && k->bytes[12] == 127);
}

static IpEntry *add(IpTable *t, const IpKey *key, uint64_t hash, uint64_t now_msec)
{
        IpEntry *e = t->map.n < IPS_MAX ? calloc(1, sizeof(*e)) : NULL;

        if (!e)
                return NULL;
        e->key = *key;
        e->exempt = is_exempt(key);
        e->idle_msec = now_msec;
        if (hashmap_add(&t->map, &e->node, hash) < 0) {
                free(e);
                return NULL;
        }
        TAILQ_INSERT_TAIL(&t->idle, e, idle);
        return e;
}

static bool take_token(IpEntry *e, uint64_t per_sec, uint64_t now_msec)
{
        double seconds = now_msec > e->tokens_msec ? (double)(now_msec - e->tokens_msec) / 1000 : 0;
        double burst = (double)per_sec * IP_BURST_SEC;

        e->tokens = e->judged ? MIN(burst, e->tokens + seconds * (double)per_sec) : burst;
        e->judged = true;
        e->tokens_msec = now_msec;
        if (e->tokens < 1)
                return false;
        e->tokens -= 1;
        return true;
}

int iptable_open(IpTable *t, const IpKey *key, const IpCaps *caps, uint64_t now_msec, IpEntry **ret)
{
        uint64_t hash = hashmap_hash(&t->map, key, sizeof(*key));
        IpEntry *e = find(t, key, hash);

        if (!e)
                e = add(t, key, hash, now_msec);
        if (!e)
                return -ENOMEM;
        if (caps && !e->exempt) {
                if (caps->connections && e->connections >= caps->connections)
                        return -EUSERS;
                if (caps->accepts_per_sec && !take_token(e, caps->accepts_per_sec, now_msec))
                        return -EBUSY;
        }
        if (e->connections++ == 0)
                TAILQ_REMOVE(&t->idle, e, idle);
        *ret = e;
        return 0;
}

void iptable_close(IpTable *t, IpEntry *e, uint64_t now_msec)
{
        if (--e->connections)
                return;
        e->idle_msec = now_msec;
        TAILQ_INSERT_TAIL(&t->idle, e, idle);
}

bool iptable_spend(IpEntry *e, uint32_t per_min, uint64_t now_msec)
{
        if (per_min == 0)
                return true;
        if (e->spent == 0 || now_msec - e->window_msec >= IP_WINDOW_MSEC) {
                e->window_msec = now_msec;
                e->spent = 0;
        }
        if (e->spent >= per_min)
                return false;
        e->spent++;
        return true;
}

void iptable_sweep(IpTable *t, uint64_t now_msec)
{
        IpEntry *e;

        /* What is idle for a window has no budget under way. */
        while ((e = TAILQ_FIRST(&t->idle)) && now_msec - e->idle_msec >= IP_WINDOW_MSEC)
                forget(t, e);
}
