// swift-tools-version: 6.2
import PackageDescription

// Warnings are errors where the project is checked (CI, `make lint`), not for a user on a newer toolchain.
let treatsWarningsAsErrors = Context.environment["MMPROBE_STRICT"] == "1"

// The commit that `mmprobe --version` names; the Makefile sets the variable where there is a repository.
let commit = (Context.environment["MMPROBE_COMMIT"] ?? "").filter { $0.isHexDigit || $0 == "+" }

let swiftSettings: [SwiftSetting] =
  [
    .strictMemorySafety(),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("ExistentialAny"),
  ] + (treatsWarningsAsErrors ? [.treatAllWarnings(as: .error)] : [])

let package = Package(
  name: "mmprobe",
  products: [
    .executable(name: "mmprobe", targets: ["mmprobe"])
  ],
  targets: [
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .target(name: "CSentencePiece", linkerSettings: [.linkedLibrary("sentencepiece")]),
    .target(
      name: "CKernels", cSettings: [.define("MMPROBE_COMMIT", to: "\"\(commit)\"")],
      linkerSettings: [.linkedLibrary("m")]),
    .target(name: "RunKit", swiftSettings: swiftSettings),
    .target(
      name: "TensorCore", dependencies: ["RunKit", "COpenBLAS", "CKernels"],
      swiftSettings: swiftSettings),
    .target(
      name: "TokenModel", dependencies: ["TensorCore", "CSentencePiece"],
      swiftSettings: swiftSettings),
    .target(name: "PEFT", dependencies: ["TokenModel"], swiftSettings: swiftSettings),
    .target(name: "Analysis", dependencies: ["TokenModel"], swiftSettings: swiftSettings),
    .target(name: "ClassicBench", dependencies: ["Analysis"], swiftSettings: swiftSettings),
    .executableTarget(
      name: "mmprobe", dependencies: ["PEFT", "ClassicBench", "Analysis"],
      swiftSettings: swiftSettings),
    .target(
      name: "TestSupport", dependencies: ["TensorCore", "TokenModel"], path: "Tests/TestSupport",
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "FuzzHarness", dependencies: ["RunKit", "TensorCore", "TokenModel", "Analysis", "PEFT"],
      path: "Tests/FuzzHarness",
      swiftSettings: swiftSettings),
    .testTarget(name: "FuzzTests", dependencies: ["FuzzHarness"], swiftSettings: swiftSettings),
    .testTarget(
      name: "RunKitTests", dependencies: ["RunKit", "TestSupport"], swiftSettings: swiftSettings),
    .testTarget(
      name: "TensorCoreTests", dependencies: ["TensorCore", "RunKit", "TestSupport"],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "TokenModelTests", dependencies: ["TokenModel", "TestSupport"],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "PEFTTests", dependencies: ["PEFT", "TestSupport"], swiftSettings: swiftSettings),
    .testTarget(
      name: "AnalysisTests", dependencies: ["Analysis", "TestSupport"],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "ClassicBenchTests", dependencies: ["ClassicBench", "TestSupport"],
      swiftSettings: swiftSettings),
    .testTarget(
      name: "CommandTests", dependencies: ["mmprobe", "Analysis", "PEFT", "TestSupport"],
      swiftSettings: swiftSettings),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c17,
  cxxLanguageStandard: .cxx17
)
