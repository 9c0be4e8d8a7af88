// client.mjs ADDRESS: what a foreign node learns of a Parlor node, told in lines of JSON.
//
// Written from docs/protocol.md alone, sections 2 and 3: if this does not work, either that page or Parlor is wrong.
import { multiaddr } from '@multiformats/multiaddr'
import { decode, encode } from 'cborg'
import { say, start } from './node.mjs'

const node = await start()
// It asks by itself, of every new connection.
const identified = new Promise((resolve) => node.addEventListener('peer:identify', ({ detail }) => resolve(detail)))
const connection = await node.dial(multiaddr(process.argv[2]))

const { protocolVersion, agentVersion, protocols } = await identified
say('identify', { protocolVersion, agentVersion, protocols })

say('ping', { milliseconds: await node.services.ping.ping(connection.remotePeer) })

/** One CBOR item, then the sending side is closed; the answer the same way. */
const request = async (protocol, item) => {
  const stream = await connection.newStream(protocol)
  stream.send(encode(item))
  await stream.close()
  const parts = []
  for await (const part of stream) parts.push(part.subarray())
  return decode(Buffer.concat(parts))
}

const { programs } = await request('/parlor/catalog/1', {})
say('catalog', { programs: programs.map((offer) => ({ ...offer, program: Buffer.from(offer.program).toString('hex') })) })

await node.stop()
