// relay.mjs LISTEN: a circuit-relay-v2 relay, told in lines of JSON: where it is, who wants to be reached through it, and
// every circuit that somebody asks of it.
import { circuitRelayServer } from '@libp2p/circuit-relay-v2'
import { say, start } from './node.mjs'

// A circuit may carry a program and last as long as a session: js-libp2p's defaults, 128 KiB and two minutes, end both.
const reservations = {
  defaultDataLimit: 256n * 1024n * 1024n, // bytes, both ways together
  defaultDurationLimit: 60 * 60 * 1000 // milliseconds
}

const node = await start({
  addresses: { listen: [process.argv[2]] },
  services: { relay: circuitRelayServer({ reservations }) },
  // Here js-libp2p asks whether to deny what it is about to do. Nothing is.
  connectionGater: {
    denyInboundRelayReservation: (peer) => say('reservation', { peer }),
    denyOutboundRelayedConnection: (from, to) => say('circuit', { from, to })
  }
})
say('ready', { addresses: node.getMultiaddrs() })
