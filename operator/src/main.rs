//! x
fn main() {
    for d in anchorage_operator::crd::publish::definitions() {
        println!("---\n{}", anchorage_operator::crd::publish::yaml(&d).unwrap());
    }
}
