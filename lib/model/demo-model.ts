// Where the embedded demonstration model lies: a trained checkpoint of the K2 Thinking architecture in a few megabytes.
// It shows the engine at work and knows nothing but its own small domain.

import { join } from "node:path";

/** The folder of the demonstration model, for `loadModel`. */
export const demoModelPath: string = join(__dirname, "..", "..", "demo-model");
