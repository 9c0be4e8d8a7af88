// Makes a component of oracle.js: program/host.wasm, about 12 MB, most of which is the JavaScript engine.
//
// Everything that the engine could have of WASI is left out. The oracle needs none of it, and what is not there cannot
// be missed on a node. What an agent needs, it imports from parlor:agent.
//
// package.json keeps jco, which makes the component in the end, at a version from before it brought a bundler, a compiler
// and another JavaScript engine along.

import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const { component } = await componentize({
  sourcePath: "oracle.js",
  witPath: "../../../proto/wit",
  worldName: "agent",
  disableFeatures: ["clocks", "fetch-event", "http", "random", "stdio"],
});
await writeFile("program/host.wasm", component);
console.log(`program/host.wasm: ${component.length} bytes`);
