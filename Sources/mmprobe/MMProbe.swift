@main
struct MMProbe {
  static func main() {}
}
