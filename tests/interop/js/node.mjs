// What all scripts here need of js-libp2p: a node with what docs/protocol.md, section 2, wants of a peer, and a way to tell.
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'

// Node 22 brings it and js-libp2p wants it. Where there is only Node 20, npm warns of that.
Promise.withResolvers ??= () => {
  const all = {}
  all.promise = new Promise((resolve, reject) => Object.assign(all, { resolve, reject }))
  return all
}

// Milliseconds. A busy machine is not a failure; whoever drives this has a deadline of its own.
const timeout = 60_000

/** A running node; `services` beside identify and ping, and whatever else js-libp2p can be configured with. */
export const start = ({ services, ...more } = {}) =>
  createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { dialTimeout: timeout, addressDialTimeout: timeout, inboundUpgradeTimeout: timeout },
    connectionMonitor: { enabled: false },
    services: { identify: identify({ timeout }), ping: ping({ timeout }), ...services },
    ...more
  })

/** One line of JSON. */
export const say = (event, what) => console.log(JSON.stringify({ event, ...what }))
