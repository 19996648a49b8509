//! The example of the earlier experiment manager's manual.

use serde_json::{Value, json};

/// Its suite, as it stands there, on targets of a platform.
pub fn suite(platform_type: &str) -> Value {
    json!({
        "platformType": platform_type,
        "experimentCriteria": [
            {
                "containerIdentifier": "ngnix",
                "experimentMethods": ["terminateProcess.sh"],
                "specificContainerTargets": [],
            },
            {
                "containerIdentifier": "mongo",
                "experimentMethods": ["cpuBurn.sh", "starveRandomNumberGenerator.sh"],
                "specificContainerTargets": ["mongo-qw93ut"],
            },
        ],
    })
}
