/* The recovery key of a host: pairs as an open code does, but stays, and is never locked out
 * (PROTOCOL.md "Recover"). Only the attempts at a time are bounded: 128 random bits are not
 * guessed, and a new attempt takes the place of an old one. Declared in host.h. */
#include <errno.h>
#include <sodium.h>

#include "dialback.h"
#include "host.h"
#include "limits.h"
#include "log.h"
#include "watch.h"

/* RFC 4648 base32 without padding: what is read aloud and typed without mistakes. NULL: no memory.
 */
static Secret *generate_key(void)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        uint8_t random[RECOVERY_KEY_BYTES];
        Secret *key = secret_new((RECOVERY_KEY_BYTES * 8 + 4) / 5);

        randombytes_buf(random, sizeof(random));
        for (size_t i = 0; key && i < key->len; i++) {
                size_t bit = i * 5, byte = bit / 8;
                unsigned two = (unsigned)random[byte] << 8 |
                               (byte + 1 < sizeof(random) ? random[byte + 1] : 0U);
                key->data[i] = (uint8_t)digits[two >> (11 - bit % 8) & 31];
        }
        sodium_memzero(random, sizeof(random));
        return key;
}

/* Puts key (may be NULL) in the old one's place, stored; taken over, also on failure. */
static int replace(Host *h, Secret *key)
{
        Secret *old = h->recovery_key;
        int r;

        h->recovery_key = key;
        r = host_save(h);
        if (r < 0) {
                h->recovery_key = old;
                secret_free(key);
                return r;
        }
        secret_free(old);
        watch_tell_host(h, "changed");
        dialback_end_recovery(h); /* they have begun with the old key */
        return 0;
}

int host_enable_recovery(Host *h)
{
        Secret *key = generate_key();
        int r = key ? replace(h, key) : -ENOMEM;

        if (r == 0)
                log_info("host %s: a new recovery key is in force", h->name);
        return r;
}

int host_disable_recovery(Host *h)
{
        int r = h->recovery_key ? replace(h, NULL) : 0;

        if (r == 0)
                log_info("host %s: recovery is disabled", h->name);
        return r;
}

bool host_recovery_is_full(const Host *h)
{
        return h->recoveries_in_flight >= RECOVERIES_MAX;
}

bool host_reserve_recovery(Host *h)
{
        if (!h->recovery_key || host_recovery_is_full(h))
                return false;
        h->recoveries_in_flight++;
        return true;
}

void host_refund_recovery(Host *h)
{
        h->recoveries_in_flight--;
}
