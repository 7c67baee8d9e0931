"""The admin API's JSON contract: requests are strict, replies are additive. A module per topic.

A reply never loses a field and never changes a field's meaning; a reader ignores what it does not know. Times are Unix
seconds (`_s`), durations end in their unit, weights are percent.

The command line reads these, too. So nothing is imported here, and a module imports pydantic and other modules of this
package, and of the configuration only what its own fields are made of: `henslowe status` waits for no manifests.
"""
