/* Handshakes that go wrong: tampered, cut, late, out of order, closed, misused. */
#include <errno.h>

#include <sodium.h>

#include "handshake-ends.h"

/* ---- a man in the middle ---- */

static void flip(Bytes *f, size_t bit)
{
        f->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

static void cut(Bytes *f, size_t len)
{
        f->len = len;
}

static void lengthen(Bytes *f, size_t by)
{
        memset(f->data + f->len, 0, by);
        f->len += by;
}

static bool is_failure(int result)
{
        return result == HANDSHAKE_BAD_PEER || result == HANDSHAKE_WRONG_CODE;
}

/* Runs with one frame changed. The client never ends well; the host only if it had ended before. */
static void check_changed(bool reconnect, int frame, void (*change)(Bytes *, size_t), size_t arg)
{
        Ends e = {.reconnect = reconnect, .changed = frame, .change = change, .arg = arg};
        bool host_was_done = frame >= (reconnect ? 2 : 4);

        ends_make(&e);
        ends_run(&e);
        if (e.client_result == HANDSHAKE_DONE ||
            (e.host_result == HANDSHAKE_DONE) != host_was_done ||
            (!is_failure(e.client_result) && !is_failure(e.host_result)))
                fail_msg("frame %d, %zu: client %d, host %d", frame, arg, e.client_result,
                         e.host_result);
        if (is_failure(e.client_result))
                assert_wiped(e.client, false);
        if (is_failure(e.host_result))
                assert_wiped(e.host, false);
        ends_done(&e);
}

static const size_t pair_lengths[] = {14, 65, 65, 32, 32, 143}, reconnect_lengths[] = {22, 48, 48};

/* A bit of each byte of each frame. */
static void test_flipped(void **state)
{
        (void)state;
        for (int reconnect = 0; reconnect < 2; reconnect++)
                for (int i = 0; i < (reconnect ? 3 : 6); i++) {
                        size_t n = reconnect ? reconnect_lengths[i] : pair_lengths[i];

                        for (size_t at = 0; at < n; at++)
                                check_changed(reconnect, i, flip, at * 8 + at % 8);
                }
}

/* Each frame at each shorter length, and longer by one. */
static void test_cut(void **state)
{
        (void)state;
        for (int reconnect = 0; reconnect < 2; reconnect++)
                for (int i = 0; i < (reconnect ? 3 : 6); i++) {
                        size_t n = reconnect ? reconnect_lengths[i] : pair_lengths[i];

                        for (size_t len = 0; len < n; len += len + 4 < n ? 3 : 1)
                                if (i || reconnect || len < 6 || len > 6)
                                        check_changed(reconnect, i, cut, len);
                        if (i > 0)
                                check_changed(reconnect, i, lengthen, 1);
                }
}

/* Bytes behind a header's fields are ignored, and not bound. */
static void test_longer_header(void **state)
{
        (void)state;
        for (int reconnect = 0; reconnect < 2; reconnect++) {
                Ends e = {.reconnect = reconnect, .changed = 0, .change = lengthen, .arg = 9};

                ends_make(&e);
                ends_run(&e);
                assert_int_equal(e.client_result, HANDSHAKE_DONE);
                assert_int_equal(e.host_result, HANDSHAKE_DONE);
                ends_done(&e);
        }
}

static void to_refusal(Bytes *f, size_t len)
{
        memset(f->data, 0, sizeof(f->data));
        memcpy(f->data, header_refusal, REFUSAL_BYTES);
        f->len = len;
}

/* The refusal is six bytes, in place of message 2, and of nothing in a pairing. */
static void test_near_refusals(void **state)
{
        (void)state;
        check_changed(true, 2, to_refusal, REFUSAL_BYTES - 1);
        check_changed(true, 2, to_refusal, REFUSAL_BYTES + 1);
        check_changed(false, 2, to_refusal, REFUSAL_BYTES);
        check_changed(false, 4, to_refusal, REFUSAL_BYTES);
        check_changed(false, 5, to_refusal, REFUSAL_BYTES);
        check_changed(true, 0, to_refusal, REFUSAL_BYTES);
        check_changed(true, 1, to_refusal, REFUSAL_BYTES);
        for (size_t bit = 0; bit < 8 * REFUSAL_BYTES; bit++) {
                Ends e = {.reconnect = true,
                          .refuse = true,
                          .changed = 2,
                          .change = flip,
                          .arg = bit};

                ends_make(&e);
                ends_run(&e);
                assert_int_equal(e.client_result, HANDSHAKE_BAD_PEER);
                ends_done(&e);
        }
}

static void zero_point(Bytes *f, size_t unused)
{
        (void)unused;
        memset(f->data, 0, 32);
}

static void test_low_order(void **state)
{
        static const uint8_t random[HANDSHAKE_RANDOM_BYTES] = {1};
        Credential c = credential;
        Handshake *h = NULL;

        (void)state;
        check_changed(true, 1, zero_point, 0);
        check_changed(true, 2, zero_point, 0);
        memset(c.host_static_public, 0, sizeof(c.host_static_public));
        assert_int_equal(handshake_client_reconnect(&h, &c, random), 0);
        assert_int_equal(handshake_client_start(h, 0), HANDSHAKE_BAD_PEER);
        assert_wiped(h, false);
        handshake_free(h);
}

/* A host that welcomes with another address: of the same length, shorter, none. */
static void test_wrong_address(void **state)
{
        static const char *const others[] = {"kGOQApX5bXQxOBtO92_LdYSWtw2FacB-YItlEDTYZk8",
                                             "nG_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc2", ""};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                Ends e = {.changed = -1, .host_address = others[i]};

                ends_make(&e);
                ends_run(&e);
                assert_int_equal(e.host_result, HANDSHAKE_DONE);
                assert_int_equal(e.client_result, HANDSHAKE_BAD_PEER);
                assert_wiped(e.client, false);
                ends_done(&e);
        }
}

/* ---- order ---- */

/* The frames of a good run, of both kinds. */
static Ends good[2];

static int record(void **state)
{
        int r = unit_setup(state);

        for (int i = 0; r == 0 && i < 2; i++) {
                good[i] = (Ends){.changed = -1, .reconnect = i};
                ends_make(&good[i]);
                ends_run(&good[i]);
                ends_done(&good[i]);
        }
        return r;
}

static int give(Handshake *host, bool reconnect)
{
        int r = reconnect ? handshake_host_give_token(host, credential.token, 0)
                          : handshake_host_give_password(host, (const uint8_t *)CODE, strlen(CODE),
                                                         0);

        drain(host);
        return r;
}

/* Brings an end to where it has had `frames` of the run; the host's secret is given after F0. */
static Handshake *at_frame(bool reconnect, bool host, size_t frames)
{
        Ends e = {.reconnect = reconnect};
        Handshake *h;

        ends_make(&e);
        assert_int_equal(handshake_client_start(e.client, 0), HANDSHAKE_MORE);
        drain(e.client);
        h = host ? TAKE_PTR(e.host) : TAKE_PTR(e.client);
        ends_done(&e);
        for (size_t i = 0; i < frames; i++) {
                bool of_client = i == 0 || i == 1 || i == 3;

                if (of_client != host)
                        continue;
                if (feed(h, good[reconnect].frames[i]) == HANDSHAKE_NEED_SECRET)
                        assert_int_equal(give(h, reconnect), HANDSHAKE_MORE);
        }
        return h;
}

/* A share is a point like any other: the other end's own one in its place is only told by the
 * confirmation. */
static void check_reflected(Handshake *h, bool host)
{
        assert_int_equal(feed(h, good[0].frames[host ? 3 : 4]),
                         host ? HANDSHAKE_WRONG_CODE : HANDSHAKE_BAD_PEER);
        assert_wiped(h, false);
}

static void check_place(bool reconnect, bool host, size_t at, size_t expects, bool kind, size_t f)
{
        Handshake *h = at_frame(reconnect, host, at);
        bool right = f == expects && (kind == reconnect || f == 0);
        bool reflected = !reconnect && !kind && f > 0 && expects > 0 && expects + f == 3;
        int r = feed(h, good[kind].frames[f]);

        if (right || reflected ? r == HANDSHAKE_BAD_PEER || r < 0 : !is_failure(r))
                fail_msg("%s, %s at %zu, frame %zu of %s: %d", reconnect ? "reconnect" : "pairing",
                         host ? "host" : "client", at, f, kind ? "reconnect" : "pairing", r);
        if (reflected) {
                check_reflected(h, host);
        } else if (!right) {
                assert_wiped(h, false);
                assert_int_equal(feed(h, good[kind].frames[f]), HANDSHAKE_BAD_PEER);
        }
        handshake_free(h);
}

/* At every place, every frame of both kinds but the right one ends the machine. */
static void test_order(void **state)
{
        static const struct {
                bool reconnect, host;
                size_t at, expects;
        } places[] = {
                {false, true, 0, 0},  {false, true, 1, 1},  {false, true, 2, 3},
                {false, true, 4, 99}, /* waits for its owner */
                {false, false, 2, 2}, {false, false, 3, 4}, {false, false, 5, 5},
                {true, true, 0, 0},   {true, true, 1, 1},   {true, false, 2, 2},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                for (int kind = 0; kind < 2; kind++)
                        for (size_t f = 0; f < (kind ? 3U : 6U); f++)
                                check_place(places[i].reconnect, places[i].host, places[i].at,
                                            places[i].expects, kind, f);
}

/* One frame may wait for the secret, of the length of a first share at most. */
static void test_held(void **state)
{
        Bytes longest = {.len = HELD_FRAME_MAX}, longer = {.len = HELD_FRAME_MAX + 1};

        (void)state;
        for (int reconnect = 0; reconnect < 2; reconnect++) {
                const Bytes *f = good[reconnect].frames;

                Ends e = {.reconnect = reconnect};
                ends_make(&e);
                assert_int_equal(feed(e.host, f[0]), HANDSHAKE_NEED_SECRET);
                assert_int_equal(feed(e.host, f[1]), HANDSHAKE_MORE);
                assert_int_equal(give(e.host, reconnect),
                                 reconnect ? HANDSHAKE_DONE : HANDSHAKE_MORE);
                ends_done(&e);

                ends_make(&e); /* a second one */
                assert_int_equal(feed(e.host, f[0]), HANDSHAKE_NEED_SECRET);
                assert_int_equal(feed(e.host, f[1]), HANDSHAKE_MORE);
                assert_int_equal(feed(e.host, f[1]), HANDSHAKE_BAD_PEER);
                assert_wiped(e.host, false);
                ends_done(&e);

                ends_make(&e); /* a bad one is told when it is looked at */
                assert_int_equal(feed(e.host, f[0]), HANDSHAKE_NEED_SECRET);
                assert_int_equal(feed(e.host, longest), HANDSHAKE_MORE);
                assert_int_equal(give(e.host, reconnect), HANDSHAKE_BAD_PEER);
                ends_done(&e);

                ends_make(&e);
                assert_int_equal(feed(e.host, f[0]), HANDSHAKE_NEED_SECRET);
                assert_int_equal(feed(e.host, longer), HANDSHAKE_BAD_PEER);
                ends_done(&e);

                ends_make(&e); /* the refusal needs no F1 */
                assert_int_equal(feed(e.host, f[0]), HANDSHAKE_NEED_SECRET);
                assert_int_equal(feed(e.host, f[1]), HANDSHAKE_MORE);
                assert_int_equal(handshake_host_refuse(e.host),
                                 reconnect ? HANDSHAKE_REFUSED : -EPROTO);
                ends_done(&e);
        }
}

/* ---- time ---- */

static void check_deadline(Handshake *h, uint64_t from, uint64_t span)
{
        assert_true(handshake_deadline_msec(h) == from + span);
        assert_int_equal(handshake_tick(h, from), HANDSHAKE_MORE);
        assert_int_equal(handshake_tick(h, from + span - 1), HANDSHAKE_MORE);
}

static void expire(Handshake *h)
{
        assert_int_equal(handshake_tick(h, handshake_deadline_msec(h)), HANDSHAKE_TIMED_OUT);
        assert_wiped(h, false);
        assert_int_equal(feed(h, good[0].frames[0]), HANDSHAKE_BAD_PEER);
        handshake_free(h);
}

/* Each frame has its time from the one before it, at each end; `stop` is where it runs out. */
static void check_host_times(bool reconnect, size_t stop)
{
        uint64_t span = reconnect ? HANDSHAKE_RECONNECT_FRAME_MSEC : HANDSHAKE_PAIR_FRAME_MSEC,
                 now = 0;
        Ends e = {.reconnect = reconnect};
        const Bytes *f = good[reconnect].frames;

        ends_make(&e);
        handshake_free(e.client);
        check_deadline(e.host, 0, HANDSHAKE_PAIR_FRAME_MSEC);
        for (size_t i = 0; i < stop; i++) {
                static const size_t of_client[] = {0, 1, 3};
                const Bytes *frame = &f[of_client[i]];
                int r = handshake_feed(e.host, frame->data, frame->len, now += 5000);

                drain(e.host);
                check_deadline(e.host, now, span);
                if (r == HANDSHAKE_NEED_SECRET) {
                        now += 2000;
                        r = reconnect ? handshake_host_give_token(e.host, credential.token, now)
                                      : handshake_host_give_password(e.host, (const uint8_t *)CODE,
                                                                     strlen(CODE), now);
                        assert_int_equal(r, HANDSHAKE_MORE);
                        check_deadline(e.host, now, span);
                }
        }
        expire(e.host);
}

static void check_client_times(bool reconnect, size_t stop)
{
        uint64_t span = reconnect ? HANDSHAKE_RECONNECT_FRAME_MSEC : HANDSHAKE_PAIR_FRAME_MSEC;
        uint64_t now = 100;
        Ends e = {.reconnect = reconnect};

        ends_make(&e);
        handshake_free(e.host);
        assert_int_equal(handshake_client_start(e.client, now), HANDSHAKE_MORE);
        drain(e.client);
        check_deadline(e.client, now, span);
        for (size_t i = 0; i < stop; i++) {
                const Bytes *frame = &good[reconnect].frames[i ? 4 : 2];

                assert_int_equal(handshake_feed(e.client, frame->data, frame->len, now += 5000),
                                 HANDSHAKE_MORE);
                drain(e.client);
                check_deadline(e.client, now, span);
        }
        expire(e.client);
}

static void test_times(void **state)
{
        (void)state;
        assert_int_equal(HANDSHAKE_PAIR_FRAME_MSEC, 15000);
        assert_int_equal(HANDSHAKE_RECONNECT_FRAME_MSEC, 10000);
        for (size_t stop = 0; stop <= 3; stop++)
                check_host_times(false, stop);
        for (size_t stop = 0; stop <= 1; stop++)
                check_host_times(true, stop);
        for (size_t stop = 0; stop <= 2; stop++)
                check_client_times(false, stop);
        check_client_times(true, 0);
}

/* ---- closed ---- */

static void test_closed(void **state)
{
        static const struct {
                bool reconnect, host;
                size_t at;
                int result;
        } places[] = {
                {false, true, 0, HANDSHAKE_LOST},
                {false, true, 1, HANDSHAKE_LOST},
                {false, true, 2, HANDSHAKE_LOST},
                {false, true, 4, HANDSHAKE_LOST}, /* before it was stored */
                {false, false, 2, HANDSHAKE_LOST},
                {false, false, 3, HANDSHAKE_WRONG_CODE}, /* cA was sent */
                {false, false, 5, HANDSHAKE_LOST},
                {true, true, 0, HANDSHAKE_LOST},
                {true, true, 1, HANDSHAKE_LOST},
                {true, false, 2, HANDSHAKE_LOST},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                Handshake *h = at_frame(places[i].reconnect, places[i].host, places[i].at);

                assert_int_equal(handshake_closed(h), places[i].result);
                assert_wiped(h, false);
                assert_int_equal(handshake_client_confirmed(h),
                                 !places[i].reconnect && !places[i].host && places[i].at >= 3);
                handshake_free(h);
        }
        Ends e = {.changed = -1};
        ends_make(&e);
        assert_int_equal(handshake_closed(e.client), HANDSHAKE_LOST); /* not started */
        ends_done(&e);
}

/* ---- the owner's mistakes ---- */

/* After the end a late timer or close changes nothing: the keys can still be taken. */
static void test_after_the_end(void **state)
{
        (void)state;
        for (int reconnect = 0; reconnect < 2; reconnect++) {
                Ends e = {.changed = -1, .reconnect = reconnect};

                ends_make(&e);
                ends_run(&e);
                assert_int_equal(handshake_tick(e.client, UINT64_MAX), HANDSHAKE_TIMED_OUT);
                assert_int_equal(handshake_closed(e.host), HANDSHAKE_LOST);
                assert_int_equal(feed(e.host, good[0].frames[0]), HANDSHAKE_BAD_PEER);
                assert_int_equal(handshake_host_stored(e.host), -EPROTO);
                assert_keys(&e);
                ends_done(&e);
        }
}

static void test_wrong_calls(void **state)
{
        for (int reconnect = 0; reconnect < 2; reconnect++) {
                Ends e = {.changed = -1, .reconnect = reconnect};

                (void)state;
                ends_make(&e);
                assert_int_equal(give(e.host, reconnect), -EPROTO);
                assert_int_equal(handshake_host_refuse(e.host), -EPROTO);
                assert_int_equal(handshake_host_stored(e.host), -EPROTO);
                assert_int_equal(handshake_client_start(e.host, 0), -EPROTO);
                assert_int_equal(feed(e.host, good[reconnect].frames[0]), HANDSHAKE_NEED_SECRET);
                assert_int_equal(give(e.host, !reconnect), -EPROTO);
                assert_int_equal(handshake_host_stored(e.host), -EPROTO);
                if (!reconnect)
                        assert_int_equal(handshake_host_give_password(e.host, NULL, 0, 0), -EPROTO);
                assert_int_equal(give(e.host, reconnect), HANDSHAKE_MORE);
                assert_int_equal(give(e.host, reconnect), -EPROTO);
                assert_int_equal(handshake_client_start(e.client, 0), HANDSHAKE_MORE);
                assert_int_equal(handshake_client_start(e.client, 0), -EPROTO);
                ends_done(&e);
        }
        Ends e = {};
        ends_make(&e);
        assert_int_equal(feed(e.client, good[0].frames[2]), HANDSHAKE_BAD_PEER); /* not started */
        ends_done(&e);
}

/* Frames are taken out before the next goes in: there is room for two. */
static void test_output_first(void **state)
{
        Bytes f = good[0].frames[2];
        Ends e = {};

        (void)state;
        ends_make(&e);
        assert_int_equal(handshake_client_start(e.client, 0), HANDSHAKE_MORE);
        assert_int_equal(handshake_feed(e.client, f.data, f.len, 0), -EPROTO);
        drain(e.client);
        assert_int_equal(handshake_feed(e.client, f.data, f.len, 0), HANDSHAKE_MORE);
        ends_done(&e);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_flipped),       cmocka_unit_test(test_cut),
                cmocka_unit_test(test_longer_header), cmocka_unit_test(test_near_refusals),
                cmocka_unit_test(test_low_order),     cmocka_unit_test(test_wrong_address),
                cmocka_unit_test(test_order),         cmocka_unit_test(test_held),
                cmocka_unit_test(test_times),         cmocka_unit_test(test_closed),
                cmocka_unit_test(test_after_the_end), cmocka_unit_test(test_wrong_calls),
                cmocka_unit_test(test_output_first),
        };

        return cmocka_run_group_tests(tests, record, NULL);
}
