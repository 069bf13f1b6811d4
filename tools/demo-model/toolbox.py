"""The eight tools of the demo world: their declarations, exactly as the model has seen them.

The one idea: a tiny model knows its tools by their declared form, so whoever uses the model has to declare them with
these names, descriptions and parameters, and to answer with JSON of the shapes in `RESULT_SHAPES`.
"""
import json

RESULT_SHAPES = {
    "calculator": {"result": 408},
    "get_weather": {"city": "Oslo", "temp_c": -3, "sky": "snowy"},
    "get_time": {"city": "Oslo", "time": "14:05"},
    "convert_units": {"value": 64.4, "unit": "fahrenheit"},
    "add_days": {"date": "2025-03-14", "weekday": "Friday"},
    "get_price": {"item": "lamp", "price": 24.5},
    "find_contact": {"name": "Ana", "phone": "555-0123", "city": "Lisbon"},
    "send_message": {"sent": True},
}


def _declare(name, description, /, **parameters):
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "required": list(parameters),
                       "properties": {key: {"type": kind} for key, kind in parameters.items()}}}}


TOOLS = {tool["function"]["name"]: tool for tool in [
    _declare("calculator", "Evaluate an expression", expression="string"),
    _declare("get_weather", "Weather in a city", city="string"),
    _declare("get_time", "Local time in a city", city="string"),
    _declare("convert_units", "Convert a value between units", **{"value": "number", "from": "string", "to": "string"}),
    _declare("add_days", "Add days to a date", date="string", days="integer"),
    _declare("get_price", "Price of an item", item="string"),
    _declare("find_contact", "Look up a person", name="string"),
    _declare("send_message", "Send a text message", to="string", text="string"),
]}


def compact(value):
    """JSON without spaces, non-ASCII letters unescaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sort_keys(value):
    """Recursively sorted keys: K2's tokenizer does this to the tool declarations before it renders them."""
    if isinstance(value, dict):
        return {key: sort_keys(value[key]) for key in sorted(value)}
    return [sort_keys(item) for item in value] if isinstance(value, list) else value
