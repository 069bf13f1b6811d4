{
  "targets": [
    {
      "target_name": "k2_native",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/k2_native.node.always"],
          "action": ["node", "scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
