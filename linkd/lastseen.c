#include "lastseen.h"

#include <errno.h>

#include "host.h"
#include "liblinkproto/b64u.h"
#include "limits.h"
#include "log.h"
#include "peer.h"

static const char devices_file[] = "last-seen", peers_file[] = "last-relay";

enum {
        LINE_MAX_BYTES = 64,
        DEVICES_FILE_MAX = HOSTS_MAX * DEVICES_MAX * LINE_MAX_BYTES,
        PEERS_FILE_MAX = PEERS_MAX * LINE_MAX_BYTES,
};

/* ---- out ---- */

static void add_line(Buf *b, const uint8_t key_id[KEY_ID_BYTES], int64_t number)
{
        char id[B64U_LEN(KEY_ID_BYTES) + 1];

        b64u_encode(key_id, KEY_ID_BYTES, id);
        buf_printf(b, "%s %lld\n", id, (long long)number);
}

static int write_file(Agent *a, const char *file, Buf *b)
{
        int r = buf_ok(b);

        if (r == 0)
                r = store_write_plain(a->store, file, (const char *)b->data, b->len);
        if (r < 0 && !a->last_seen_failed) /* told once */
                log_warning("cannot write %s/%s, and goes on trying: %s; %s", store_dir(a->store),
                            file, strerror(-r), store_remedy(r));
        buf_done(b);
        return r;
}

void lastseen_write(Agent *a)
{
        Buf devices = {}, peers = {};
        int r, q;

        for (const Host *h = a->hosts; h; h = h->next)
                for (const Device *d = h->devices; d; d = d->next)
                        add_line(&devices, d->key_id, d->last_seen_at);
        for (const Peer *p = a->peers; p; p = p->next)
                if (p->last_uplink)
                        add_line(&peers, p->credential->key_id, (int64_t)p->last_uplink);
        q = write_file(a, peers_file, &peers);
        r = write_file(a, devices_file, &devices);
        a->last_seen_failed = r < 0 || q < 0;
}

/* ---- in ---- */

static void apply_to_device(Agent *a, const uint8_t key_id[KEY_ID_BYTES], int64_t seconds)
{
        for (Host *h = a->hosts; h; h = h->next) {
                Device *d = host_find_device(h, key_id);

                if (d)
                        d->last_seen_at = seconds;
        }
}

static void apply_to_peer(Agent *a, const uint8_t key_id[KEY_ID_BYTES], int64_t place)
{
        for (Peer *p = a->peers; p; p = p->next)
                if (memcmp(p->credential->key_id, key_id, KEY_ID_BYTES) == 0 &&
                    place < (int64_t)p->n_uplinks)
                        p->last_uplink = (size_t)place;
}

typedef void (*ApplyFunc)(Agent *a, const uint8_t key_id[KEY_ID_BYTES], int64_t number);

static void apply_line(Agent *a, const char *line, ApplyFunc apply)
{
        uint8_t key_id[KEY_ID_BYTES];
        size_t n = strcspn(line, " ");
        char *end = NULL;
        long long number;

        if (line[n] != ' ' || b64u_decode_exact(line, n, key_id, sizeof(key_id)) < 0)
                return;
        number = strtoll(line + n + 1, &end, 10);
        if (!*end && number >= 0)
                apply(a, key_id, number);
}

static void read_file(Agent *a, const char *file, size_t max, ApplyFunc apply)
{
        _cleanup_(freep) char *text = NULL;
        size_t len;
        int r = store_read_plain(a->store, file, max, &text, &len);

        if (r < 0) {
                if (r != -ENOENT)
                        log_warning("cannot read %s/%s: %s", store_dir(a->store), file,
                                    strerror(-r));
                return;
        }
        for (char *line = text, *next; *line; line = next) {
                next = line + strcspn(line, "\n");
                if (*next)
                        *next++ = '\0';
                apply_line(a, line, apply);
        }
}

void lastseen_read(Agent *a)
{
        read_file(a, devices_file, DEVICES_FILE_MAX, apply_to_device);
        read_file(a, peers_file, PEERS_FILE_MAX, apply_to_peer);
}
