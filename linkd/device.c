/* The devices of a host: their records, and revocation. Declared in host.h. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "clock.h"
#include "host.h"
#include "liblinkproto/b64u.h"
#include "limits.h"
#include "log.h"
#include "watch.h"

void host_key_id_text(const uint8_t key_id[KEY_ID_BYTES], char out[KEY_ID_TEXT_BYTES])
{
        b64u_encode(key_id, KEY_ID_BYTES, out);
}

Device *host_find_device(const Host *h, const uint8_t key_id[KEY_ID_BYTES])
{
        for (Device *d = h->devices; d; d = d->next)
                if (memcmp(d->key_id, key_id, KEY_ID_BYTES) == 0)
                        return d;
        return NULL;
}

/* The record: {"host","keyId","token","label","createdAt","codeId","expiresAt"?}; host is that
 * record's id. */
static int save(Host *h, const Device *d)
{
        char host[2 * RECORD_ID_BYTES + 1], id[B64U_LEN(KEY_ID_BYTES) + 1];
        char token[B64U_LEN(TOKEN_BYTES) + 1];
        Buf b = {};
        int r = buf_reserve(&b, 4096); /* so that it does not grow and leave copies behind */

        if (r < 0)
                return r;
        sodium_bin2hex(host, sizeof(host), h->record.b, sizeof(h->record.b));
        b64u_encode(d->key_id, KEY_ID_BYTES, id);
        b64u_encode(d->token, TOKEN_BYTES, token);
        buf_add_str(&b, "{");
        buf_json_member_str(&b, "host", host);
        buf_json_member_str(&b, "keyId", id);
        buf_json_member_str(&b, "token", token);
        buf_json_member_str(&b, "label", d->label);
        buf_json_member_int(&b, "createdAt", d->created_at);
        buf_json_member_str(&b, "codeId", d->admitted_by);
        if (d->expires_at)
                buf_json_member_int(&b, "expiresAt", d->expires_at);
        buf_add_str(&b, "}");
        r = buf_ok(&b);
        if (r == 0)
                r = store_write(h->agent->store, RECORD_DEVICE, &d->record, (const char *)b.data,
                                b.len);
        buf_done_wipe(&b);
        sodium_memzero(token, sizeof(token));
        return r;
}

static void link_device(Host *h, Device *d)
{
        Device **at = &h->devices;
        int64_t left = MAX((int64_t)d->expires_at - (int64_t)time(NULL), (int64_t)0);

        d->expires_boot_msec = clock_boot_msec() + MIN(left, (int64_t)DEVICE_TTL_MAX_SEC) * 1000;

        while (*at)
                at = &(*at)->next;
        *at = d;
        h->n_devices++;
}

static int parse(const Secret *text, Device *d, RecordId *host)
{
        static const char *const names[] = {"host",      "keyId",  "token",    "label",
                                            "createdAt", "codeId", "expiresAt"};
        JsonSlice v[ELEMENTSOF(names)];
        char buf[64];
        int64_t created, expires = 0;
        size_t n, m;
        int r = json_scan_object((const char *)text->data, text->len, names, v, ELEMENTSOF(names));

        if (r < 0)
                return -EBADMSG;
        if (json_str_copy(v[0], buf, sizeof(buf), &n) < 0 ||
            sodium_hex2bin(host->b, sizeof(host->b), buf, n, NULL, &m, NULL) != 0 ||
            m != sizeof(host->b) || json_str_copy(v[1], buf, sizeof(buf), &n) < 0 ||
            b64u_decode_exact(buf, n, d->key_id, KEY_ID_BYTES) < 0 ||
            json_str_copy(v[2], buf, sizeof(buf), &n) < 0 ||
            b64u_decode_exact(buf, n, d->token, TOKEN_BYTES) < 0 ||
            json_str_copy(v[3], d->label, sizeof(d->label), &n) < 0 ||
            json_int64(v[4], &created) < 0 ||
            json_str_copy(v[5], d->admitted_by, sizeof(d->admitted_by), &n) < 0 ||
            (v[6].p && (json_int64(v[6], &expires) < 0 || expires <= 0)))
                r = -EBADMSG;
        d->created_at = r < 0 ? 0 : created;
        d->expires_at = expires;
        sodium_memzero(buf, sizeof(buf));
        return r;
}

int host_load_device(Agent *a, const RecordId *id, const Secret *text)
{
        Device *d = secret_object_new(sizeof(*d));
        RecordId host;
        int r;

        if (!d)
                return -ENOMEM;
        d->record = *id;
        r = parse(text, d, &host);
        for (Host *h = a->hosts; r == 0 && h; h = h->next)
                if (memcmp(&h->record, &host, sizeof(host)) == 0) {
                        link_device(h, d);
                        return 0;
                }
        secret_object_free(d);
        return r < 0 ? r : -ENOENT;
}

int host_add_device(Host *h, const Credential *c, const Invitation *by)
{
        Device *d;
        int r;

        if (h->n_devices >= DEVICES_MAX)
                return -EUSERS;
        d = secret_object_new(sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->record = store_new_id();
        memcpy(d->key_id, c->key_id, KEY_ID_BYTES);
        memcpy(d->token, c->token, TOKEN_BYTES);
        d->created_at = d->last_seen_at = time(NULL);
        if (by && by->device_ttl_sec)
                d->expires_at = d->created_at + (time_t)by->device_ttl_sec;
        if (!by)
                strcpy(d->admitted_by, "recovery"); /* fits; no code id is so short */
        else if (by->has_code_id)
                b64u_encode(by->code_id, CODE_ID_BYTES, d->admitted_by);
        if (by && by->label[0])
                memcpy(d->label, by->label, sizeof(d->label));
        else
                (void)snprintf(d->label, sizeof(d->label), "%s-%02x%02x%02x",
                               by ? "device" : "recovered", d->key_id[0], d->key_id[1],
                               d->key_id[2]);
        r = save(h, d);
        if (r < 0) {
                secret_object_free(d);
                return r;
        }
        link_device(h, d);
        watch_tell_device(h, d, "added");
        agent_note_last_seen(h->agent);
        log_info("host %s: paired with device %s", h->name, d->label);
        return 0;
}

bool host_device_is_expired(const Device *d)
{
        return d->expires_at &&
               (time(NULL) >= d->expires_at || clock_boot_msec() >= d->expires_boot_msec);
}

void host_check_expiry(Host *h)
{
        time_t now = time(NULL);
        int64_t boot = clock_boot_msec();
        uint64_t wait = UINT64_MAX;

        for (const Device *d = h->devices; d; d = d->next) {
                if (!d->expires_at || !host_device_is_here(h, d->key_id))
                        continue;
                if (host_device_is_expired(d)) {
                        unsigned n = host_end_device_sessions(h, d->key_id, "revoked",
                                                              "the device's time is over");
                        watch_tell_device(h, d, "expired");
                        log_info("host %s: the time of device %s is over; %u sessions ended",
                                 h->name, d->label, n);
                } else {
                        wait = MIN(wait, (uint64_t)(d->expires_at - now) * 1000);
                        wait = MIN(wait, (uint64_t)(d->expires_boot_msec - boot));
                }
        }
        if (wait == UINT64_MAX)
                timer_stop(h->expiry_timer);
        else /* the clock may be set, and the timer sleeps with the machine */
                timer_start(h->expiry_timer, MIN(wait + 1, (uint64_t)EXPIRY_CHECK_MSEC));
}

unsigned host_forget_device(Host *h, Device *d, const char *word, const char *message)
{
        uint8_t key_id[KEY_ID_BYTES];

        memcpy(key_id, d->key_id, KEY_ID_BYTES);
        log_info("host %s: device %s is revoked", h->name, d->label);
        for (Device **at = &h->devices; *at; at = &(*at)->next)
                if (*at == d) {
                        *at = d->next;
                        h->n_devices--;
                        break;
                }
        watch_tell_device(h, d, "revoked");
        secret_object_free(d);
        agent_note_last_seen(h->agent);
        return host_end_device_sessions(h, key_id, word, message);
}

int host_revoke(Host *h, Device *d, unsigned *ret_ended)
{
        int r = store_remove(h->agent->store, RECORD_DEVICE, &d->record);

        if (r >= 0)
                *ret_ended = host_forget_device(h, d, "revoked", "the device was revoked");
        return r;
}
