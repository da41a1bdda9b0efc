/* Proxies on the way to relays: only HTTP's CONNECT, which lets bytes through as they are. */
#pragma once

#include "liblinkproto/util.h"

typedef struct Proxy {
        char host[256]; /* without brackets */
        uint16_t port;
        char authorization[512]; /* of Proxy-Authorization: "Basic ...", or "" */
} Proxy;

typedef struct ProxySettings {
        Proxy *proxy; /* for all relays; NULL: none */
        char *except; /* comma-separated, as in no_proxy; NULL: none */
} ProxySettings;

/* http://[user:password@]host[:port], the scheme may be left out; the port is 1080 as with curl if
 * there is none. 0; -EINVAL with *ret_fault in words. */
int proxy_parse(const char *text, Proxy *ret, const char **ret_fault) _must_use_;
/* Whether an except list names a host: "*", a name and all below it (with or without a dot in
 * front), an address; each may have a ":port". */
bool proxy_excepts(const char *except, const char *host, uint16_t port);
/* The proxy to a relay, or NULL: direct. */
const Proxy *proxy_for(const ProxySettings *s, const char *host, uint16_t port);
/* From https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY (the first that is set and not empty) and
 * no_proxy, NO_PROXY. Plain ws:// goes through CONNECT as well. 0; -EINVAL with *ret_name and
 * *ret_fault; -ENOMEM. */
int proxy_from_environment(ProxySettings *ret, const char **ret_name,
                           const char **ret_fault) _must_use_;
/* A copy (proxy_free()); NULL of NULL, or out of memory. */
Proxy *proxy_copy(const Proxy *p);
/* Wipes it. NULL. */
Proxy *proxy_free(Proxy *p);
void proxy_settings_done(ProxySettings *s);
