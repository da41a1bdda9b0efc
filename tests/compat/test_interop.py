#!/usr/bin/python3
"""The frozen v1 host and client against linkd through the real relay ($LINK_RELAY, $LINK_BUILD)."""

import asyncio
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "scenario")]

import agentkit  # noqa: E402
from agentkit import World  # noqa: E402
from linkv1 import client, codec, credential  # noqa: E402
from linkv1.host import Host  # noqa: E402
from linkv1.session import NO_HANDLER, RemoteError  # noqa: E402

LIMIT_SEC = agentkit.LIMIT_SEC


def run(work):
    return asyncio.run(asyncio.wait_for(work, 4 * LIMIT_SEC))


class FrozenClient(World):
    """Somebody else's client at our host."""

    def setUp(self):
        super().setUp()
        self.net = self.relay()
        self.home = self.agent("home")
        self.home.ctl("uplink", "add", self.net.url)
        self.home.wait_registered()

    def serve(self):
        server = self.add(self.home.start_ctl("serve", "--echo"))
        server.wait_line("^serving default")

    def invite(self, *words):
        made = self.home.json("invite", *words)
        ident = None if "--no-id" in words else codec.unb64u(made["codeId"])
        return made["address"], made["code"], ident

    def test_pair_call_reconnect_revoke(self):
        self.serve()
        for words in ((), ("--no-id",)):
            run(self._pair_call_reconnect_revoke(self.invite(*words)))

    async def _pair_call_reconnect_revoke(self, invitation):
        relays = [self.net.url]
        cred, session = await client.pair(relays, *invitation)
        self.assertEqual(await session.request({"n": [1, "\u00fc"]}), {"n": [1, "\u00fc"]})
        await asyncio.wait_for(session.cap_received.wait(), LIMIT_SEC)
        self.assertEqual(await session.request("framed"), "framed")
        self.assertGreater(session.framed_received, 0)
        await session.close()
        cred = credential.decode(cred.encode())
        session = await client.reconnect(relays, cred)
        self.assertEqual(await session.request(2), 2)
        key = codec.b64u(cred.key_id)
        await asyncio.to_thread(self.home.ctl, "revoke", key)
        await asyncio.wait_for(asyncio.shield(session.ended), LIMIT_SEC)
        with self.assertRaises(client.Revoked):
            await client.reconnect(relays, cred)

    def test_old_client_without_cap(self):
        self.serve()

        async def story():
            _, session = await client.pair([self.net.url], *self.invite(), announce=False)
            self.assertEqual(await session.request("legacy"), "legacy")
            self.assertEqual(session.framed_received, 0)
            await session.close()

        run(story())

    def test_nobody_serves(self):
        async def story():
            _, session = await client.pair([self.net.url], *self.invite())
            with self.assertRaisesRegex(RemoteError, NO_HANDLER):
                await session.request(1)
            await session.close()

        run(story())

    def test_wrong_codes(self):
        async def story():
            address, code, ident = self.invite()
            for _ in range(5):
                with self.assertRaises(client.WrongCode):
                    await client.pair([self.net.url], address, code + "X", ident)
            with self.assertRaises(client.Unreachable):  # burned: closed before pB
                await client.pair([self.net.url], address, code, ident)

        run(story())


class FrozenHost(World):
    """Our client at somebody else's host."""

    def test_pair_call_reconnect_revoke(self):
        net, laptop = self.relay(), self.agent("laptop")

        async def story():
            host = await Host([net.url], on_request=lambda cmd: {"echo": cmd}).start()
            try:
                for name, ident in (("first", None), ("second", b"\x01\x02\x03\x04\xff\xfe\xfd\xfc")):
                    await self._pair(net, laptop, host, name, ident)
                await self._again(laptop, host)
            finally:
                await host.stop()

        run(story())

    async def _pair(self, net, laptop, host, name, ident):
        host.open_code("CODE 1", ident)
        words = ["pair", "--address", host.address, "--code", "CODE 1", "--uplink", net.url,
                 "--name", name] + (["--code-id", codec.b64u(ident)] if ident else [])
        await asyncio.to_thread(laptop.ctl, *words)
        got = await asyncio.to_thread(laptop.json, "call", name, '{"x":1}')
        self.assertIn({"echo": {"x": 1}}, (got, got.get("data")))

    async def _again(self, laptop, host):
        for sessions in list(host.live.values()):
            for session in list(sessions):
                session.drop()
        got = await asyncio.to_thread(laptop.json, "call", "first", '"again"')
        self.assertIn({"echo": "again"}, (got, got.get("data")))
        for key_id in list(host.tokens):
            await host.revoke(key_id)
        await asyncio.to_thread(laptop.wait_peer, "first", "revoked")


if __name__ == "__main__":
    agentkit.main()
