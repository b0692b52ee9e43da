//! Configuration: parse, validate, resolve. Unknown keys are errors with a suggestion.
