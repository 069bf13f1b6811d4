// The entry of ES modules. It hands out the CommonJS build's own objects, so that a program that imports the package
// both ways has one K2Error class, not two.

export * from "./index.js";
