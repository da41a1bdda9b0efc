// What link-relay is measured against: a version 1 relay as one writes it on npm's `ws`, with the
// native `bufferutil`. It registers, resolves, relays, accepts, splices with back-pressure and pings.
// It does less than link-relay: no signature is verified, nothing is shaped, limited or counted.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import { WebSocketServer } from 'ws';

const require = createRequire(import.meta.url);
// Throws where bufferutil would silently fall back to JavaScript.
require('node-gyp-build')(dirname(require.resolve('bufferutil')));

const PING_MSEC = 30_000;
const MESSAGE_MAX = 16 * 1024 * 1024;
const QUEUE_MAX = 1024 * 1024; // bytes for an end; then its sender is not read

const hosts = new Map(); // address -> control socket
const links = new Map(); // linkId -> { client, control }, until it is spliced

const send = (ws, message) => ws.send(JSON.stringify(message));

// Payload from here on.
function splice(from, to) {
        from.removeAllListeners('message');
        from.on('message', (data, isBinary) => {
                to.send(data, { binary: isBinary });
                if (to.bufferedAmount > QUEUE_MAX && !from.isPaused) {
                        from.pause();
                        to._socket.once('drain', () => from.resume());
                }
        });
        from.once('close', () => to.close(4003));
}

const handlers = {
        register(ws, { address }) {
                hosts.get(address)?.close(4005);
                hosts.set(address, ws);
                ws.once('close', () => hosts.get(address) === ws && hosts.delete(address));
                send(ws, { type: 'registered', address });
        },
        resolve(ws, { address }) {
                const control = hosts.get(address);
                if (!control)
                        return send(ws, { type: 'error', error: 'unknown_address' });
                const linkId = randomUUID();
                links.set(linkId, { client: ws, control });
                ws.once('close', () => links.delete(linkId));
                send(ws, { type: 'found', linkId });
                send(control, { type: 'arrived', linkId, address });
        },
        relay(ws, { linkId }) {
                const link = links.get(linkId);
                if (link?.client !== ws)
                        return ws.close(4000);
                send(link.control, { type: 'relay', linkId });
        },
        accept(ws, { linkId }) {
                const link = links.get(linkId);
                if (!link)
                        return send(ws, { type: 'error', error: 'unknown_link' });
                links.delete(linkId);
                splice(ws, link.client);
                splice(link.client, ws);
                send(link.client, { type: 'relaying', linkId });
                send(ws, { type: 'relaying', linkId });
        },
};

function onControl(ws, data, isBinary) {
        let message;
        try {
                message = isBinary ? null : JSON.parse(data);
        } catch {
                message = null;
        }
        const handler = Object.hasOwn(handlers, message?.type) ? handlers[message.type] : null;
        if (!handler)
                return ws.close(4000);
        handler(ws, message);
}

const server = createServer((_request, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({
        server, path: '/v1/link', perMessageDeflate: false, maxPayload: MESSAGE_MAX,
        skipUTF8Validation: true,
});
sockets.on('connection', (ws) => {
        ws.alive = true;
        ws.on('pong', () => { ws.alive = true; });
        ws.on('error', () => ws.terminate());
        ws.on('message', (data, isBinary) => onControl(ws, data, isBinary));
});
setInterval(() => {
        for (const ws of sockets.clients) {
                if (!ws.alive) {
                        ws.terminate();
                        continue;
                }
                ws.alive = false;
                ws.ping();
        }
}, PING_MSEC);

server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
        console.error(`listening on 127.0.0.1:${server.address().port}`);
});
