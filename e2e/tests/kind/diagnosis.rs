//! What somebody would look at first when a promise does not hold.

use e2e::lab::Lab;

const LOOKS: &[&[&str]] = &[
    &["get", "anc,pn,pods,jobs,pvc", "-o", "wide"],
    &[
        "get",
        "anc,pn",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{range .status.conditions[*]}  {.type}={.status} {.reason}: {.message}{\"\\n\"}{end}{end}",
    ],
    &["get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"],
    &["logs", "deployment/anchorage-operator", "--tail=30"],
    &["logs", "-l", "app.kubernetes.io/component=pinner", "-c", "anchorage", "--tail=15", "--prefix"],
];

/// Prints the state of everything in Anchorage's namespace.
pub(crate) fn print() {
    let Ok(lab) = Lab::present() else { return };
    for look in LOOKS {
        let output = lab.kubectl(["-n", "anchorage"]).args(look.iter()).run().unwrap_or_else(|error| error.to_string());
        println!("    $ kubectl {}", look.join(" "));
        for line in output.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev() {
            println!("      {line}");
        }
    }
}
