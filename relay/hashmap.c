#include "hashmap.h"

#include <errno.h>
#include <sodium.h>

enum { BUCKETS_MIN = 64 };

int hashmap_init(HashMap *m)
{
        *m = (HashMap){.buckets = calloc(BUCKETS_MIN, sizeof(HashNode *)),
                       .n_buckets = BUCKETS_MIN};
        randombytes_buf(m->key, sizeof(m->key));
        return m->buckets ? 0 : -ENOMEM;
}

void hashmap_done(HashMap *m)
{
        free(m->buckets);
        *m = (HashMap){};
}

uint64_t hashmap_hash(const HashMap *m, const void *key, size_t len)
{
        uint64_t hash;

        _Static_assert(crypto_shorthash_BYTES == sizeof(hash) &&
                               crypto_shorthash_KEYBYTES == sizeof(m->key),
                       "SipHash-2-4");
        (void)crypto_shorthash((uint8_t *)&hash, key, len, m->key); /* always 0 */
        return hash;
}

static HashNode **bucket_of(const HashMap *m, uint64_t hash)
{
        return &m->buckets[hash & (m->n_buckets - 1)];
}

HashNode *hashmap_next(const HashMap *m, uint64_t hash, const HashNode *from)
{
        HashNode *node = from ? from->next : *bucket_of(m, hash);

        while (node && node->hash != hash)
                node = node->next;
        return node;
}

static void link_node(HashMap *m, HashNode *node)
{
        HashNode **b = bucket_of(m, node->hash);

        node->next = *b;
        *b = node;
}

static int grow(HashMap *m)
{
        HashNode **old = m->buckets;
        size_t n_old = m->n_buckets;
        HashNode **buckets = calloc(n_old * 2, sizeof(*buckets));

        if (!buckets)
                return -ENOMEM;
        m->buckets = buckets;
        m->n_buckets = n_old * 2;
        for (size_t i = 0; i < n_old; i++)
                for (HashNode *node = old[i], *next; node; node = next) {
                        next = node->next;
                        link_node(m, node);
                }
        free(old);
        return 0;
}

int hashmap_add(HashMap *m, HashNode *node, uint64_t hash)
{
        if (m->n >= m->n_buckets && grow(m) < 0)
                return -ENOMEM;
        node->hash = hash;
        link_node(m, node);
        m->n++;
        return 0;
}

void hashmap_remove(HashMap *m, HashNode *node)
{
        HashNode **at = bucket_of(m, node->hash);

        while (*at != node)
                at = &(*at)->next;
        *at = node->next;
        node->next = NULL;
        m->n--;
}
