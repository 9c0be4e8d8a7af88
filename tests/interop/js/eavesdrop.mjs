// eavesdrop.mjs ADDRESS SESSION: a stranger who knows where a group meets (docs/protocol.md, section 6), but is not in it.
// Runs a gossipsub under the group's own protocol name and asks for every stream of the group; tells what comes of it until
// it is ended.
import { gossipsub } from '@libp2p/gossipsub'
import { multiaddr } from '@multiformats/multiaddr'
import { say, start } from './node.mjs'

const [address, session] = process.argv.slice(2)
const group = `/parlor/group/${session}/1`
const streams = [group, `/parlor/group/${session}/ready/1`, `/parlor/group/${session}/realtime/1`]

// Its option of that name is not looked at.
const pubsub = (components) => Object.assign(gossipsub()(components), { protocols: [group] })
const node = await start({ services: { pubsub } })
for (const event of ['message', 'subscription-change', 'gossipsub:graft']) {
  node.services.pubsub.addEventListener(event, () => say('heard', { what: event }))
}
node.services.pubsub.subscribe(session)

const connection = await node.dial(multiaddr(address))
for (const protocol of streams) {
  const refused = await connection.newStream(protocol).then(() => null, (error) => error.name)
  say('asked', { protocol, refused })
}
