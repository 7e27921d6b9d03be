/// Every command, in the order of help.
enum AllCommands {
  static let list: [any Command.Type] = [
    InspectCommand.self, TokensCommand.self, EvalCommand.self, GenerateCommand.self, TraceCommand.self,
    VerifyCommand.self, DoctorCommand.self, BenchForwardCommand.self,
  ]
}
