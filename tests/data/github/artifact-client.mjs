// Drives the official artifact client: node artifact-client.mjs CLIENT STEPS RESULTS
//
// STEPS is a file with a JSON list of {"do", "arguments"}, "do" being a method of the client (uploadArtifact, listArtifacts, getArtifact,
// downloadArtifact, deleteArtifact); RESULTS gets a list of {"value"} or {"error"}, one for each step. Nothing stops at an error.
import {readFile, writeFile} from 'node:fs/promises'
import {pathToFileURL} from 'node:url'

const [client, steps, results] = process.argv.slice(2)
const {DefaultArtifactClient} = await import(pathToFileURL(client).href)
const artifacts = new DefaultArtifactClient()
const found = []
for (const step of JSON.parse(await readFile(steps, 'utf8'))) {
  try {
    found.push({value: await artifacts[step.do](...step.arguments)})
  } catch (error) {
    found.push({error: `${error.name}: ${error.message}`})
  }
}
await writeFile(results, JSON.stringify(found))
